// Times in the reader's own time zone, UTC on hover, and those that run: "… ago", "… left", how long it took.
// A <time> says by data-kind what it is: full, clock, ago or left. An element with data-from (and data-to) is a length.

export const clockwork = {
  skew: 0, // milliseconds that the server's clock is ahead of ours
  running: true, // false while what the page shows may no longer be true
};

const two = (number) => String(number).padStart(2, "0");

export function clock(moment) {
  return `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
}

export function day(moment) {
  return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
}

// A sentence of the server's, whose times of day are in UTC, with the reader's own.
export function inLocalTime(sentence) {
  return sentence.replace(/\b(\d\d):(\d\d):(\d\d) UTC\b/g, (_, ...parts) => {
    const moment = new Date();
    moment.setUTCHours(...parts.slice(0, 3).map(Number), 0);
    return clock(moment);
  });
}

// As the server says it: coordination/templatetags/moments.py.
export function duration(milliseconds) {
  const ms = Math.max(0, milliseconds);
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const s = Math.round(ms / 1_000);
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`;
}

// One that ticks each second has no use for tenths.
const whole = (ms) => duration(Math.floor(Math.max(0, ms) / 1_000) * 1_000).replace(".0 s", " s").replace(/^0 ms$/, "0 s");

function words(element, now) {
  const moment = new Date(element.dateTime);
  if (Number.isNaN(moment.getTime())) return "";
  const today = day(moment) === day(new Date());
  const at = today ? clock(moment) : `${day(moment)} ${clock(moment)}`;
  switch (element.dataset.kind) {
    case "clock":
      return clock(moment);
    case "ago":
      return `${at}, ${whole(now - moment)} ago`;
    case "left":
      return moment > now ? `${whole(moment - now)}, by ${at}` : `no time left, since ${at}`;
    default:
      return at;
  }
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function show(element, now) {
  put(element, words(element, now));
  const utc = `${new Date(element.dateTime).toISOString().slice(0, 19).replace("T", " ")} UTC`;
  if (element.title !== utc) element.title = utc;
}

const serverNow = () => new Date(Date.now() + clockwork.skew);

export function localize(root = document) {
  const now = serverNow();
  for (const element of root.querySelectorAll("time[datetime]")) if (element.dateTime) show(element, now);
  lengths(root, now);
}

function lengths(root, now) {
  for (const element of root.querySelectorAll("[data-from]")) {
    const from = new Date(element.dataset.from);
    const to = element.dataset.to;
    put(element, to ? duration(new Date(to) - from) : whole(now - from));
  }
}

setInterval(() => {
  if (!clockwork.running || document.hidden) return;
  const now = serverNow();
  for (const element of document.querySelectorAll('time[data-kind="ago"], time[data-kind="left"]')) {
    if (element.dateTime) show(element, now);
  }
  lengths(document, now);
}, 1_000);

localize();
