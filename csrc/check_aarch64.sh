#!/usr/bin/env bash
# Cross-compiles the kernels for aarch64 and runs their tests under QEMU's user emulation.
#
#     csrc/check_aarch64.sh [FOLDER]        FOLDER: where it works, default build/aarch64; kept for the next run
#
# For Debian 12 (Python 3.11, GCC 12) on another processor, with gcc-aarch64-linux-gnu and qemu-user (or
# qemu-user-static) installed; nothing of the system is changed. PYTHON: a Python 3.11 with numpy, Cython, setuptools and
# pip, default .venv/bin/python. EXAMPLES: random examples per test, default 10.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(realpath -s "${PYTHON:-.venv/bin/python}")
work=$(realpath -m "${1:-build/aarch64}")
root=$work/root
site=$work/site
source=$work/source
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static) || { echo "expected qemu-user, found none"; exit 2; }
command -v aarch64-linux-gnu-gcc > /dev/null || { echo "expected gcc-aarch64-linux-gnu, found none"; exit 2; }
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "$python: expected Python 3.11"; exit 2; }

# Debian's Python for arm64, by lists and a cache of our own: the system's package manager does not hear of it.
fetch_root() {
    local apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    : > "$apt/status"
    echo "deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "http://deb.debian.org/debian bookworm main" > "$apt/sources.list"
    local options=(
        -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Acquire::Languages=none
        -o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache"
        -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- -o Debug::NoLocking=true
    )
    if [ "$(id -u)" = 0 ]; then options+=(-o APT::Sandbox::User=root); fi
    apt-get "${options[@]}" -q update
    apt-get "${options[@]}" -q install -y --download-only --no-install-recommends python3.11 libpython3.11-dev libstdc++6
    local package
    for package in "$apt"/cache/archives/*.deb; do dpkg -x "$package" "$root.part"; done
    mv "$root.part" "$root"
}

fetch_site() {
    rm -rf "$site.part"
    "$python" -m pip install -q --disable-pip-version-check --target "$site.part" -c constraints.txt \
        --python-version 3.11 --only-binary=:all: --platform manylinux_2_28_aarch64 \
        --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
        numpy opencv-python-headless pytest hypothesis
    mv "$site.part" "$site"
}

# setup.py itself, told by Debian's own description of the other Python which compiler, flags and file names it has.
compile_kernels() {
    rm -rf "$source"
    mkdir -p "$source" "$work/described"
    cp -r csrc setup.py pyproject.toml README.md LICENSE aunet_sdk tests "$source"
    find "$source" -name '*.so' -delete
    cp "$root/usr/lib/python3.11/_sysconfigdata__aarch64-linux-gnu.py" "$work/described"
    (
        cd "$source"
        export PYTHONPATH=$work/described
        export _PYTHON_HOST_PLATFORM=linux-aarch64 _PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata__aarch64-linux-gnu
        export CC=aarch64-linux-gnu-gcc LDSHARED="aarch64-linux-gnu-gcc -shared"
        export CFLAGS="-I$root/usr/include/python3.11 -I$root/usr/include"
        "$python" setup.py -q build_ext --inplace
    )
    file -L "$source"/aunet_sdk/_native/*.so 2> /dev/null | sed "s|$source/||" || ls "$source"/aunet_sdk/_native
}

# A Python that starts itself again under the emulator, as tests with a process of their own need it.
write_python() {
    cat > "$work/python" << END
#!/bin/sh
export PYTHONHOME=$root/usr PYTHONPATH=$source:$site PYTHONDONTWRITEBYTECODE=1
exec $qemu -L $root -0 $work/python $root/usr/bin/python3.11 "\$@"
END
    chmod +x "$work/python"
    cat > "$source/few.py" << END
from hypothesis import HealthCheck, settings

settings.register_profile("few", max_examples=${EXAMPLES:-10}, deadline=None, suppress_health_check=list(HealthCheck))
END
}

run_tests() {
    local tests
    tests=$("$python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["tool"]["cibuildwheel"]["test-sources"])')
    cd "$source"
    "$work/python" -c 'import platform, sys; print("Python", sys.version.split()[0], "on", platform.machine())'
    # shellcheck disable=SC2086  # a list of files
    AUNET_REQUIRE_NATIVE=1 "$work/python" -m pytest -q -p few -p no:cacheprovider --hypothesis-profile few $tests
}

mkdir -p "$work"
[ -d "$root" ] || fetch_root
[ -d "$site" ] || fetch_site
compile_kernels
write_python
run_tests
