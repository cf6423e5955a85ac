// One colour per person: Okabe and Ito's, for all kinds of colour vision; darker ones on light ground.

const ON_DARK = ["#56b4e9", "#e69f00", "#2cc299", "#de93bb", "#f0803c", "#f0e442", "#7fb0ff"];
const ON_LIGHT = ["#1b78b3", "#a36100", "#00795a", "#a4467b", "#b44600", "#786d00", "#0a5ba3"];

const dark = matchMedia("(prefers-color-scheme: dark)");

export const isDark = () => {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : dark.matches;
};
export const onPicture = (id) => ON_DARK[id % ON_DARK.length];
export const onPage = (id) => (isDark() ? ON_DARK : ON_LIGHT)[id % ON_DARK.length];
export const onChange = (act) => dark.addEventListener("change", act);
export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
