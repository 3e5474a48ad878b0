// What every page needs: texts, requests with the session's token, events of the box, language, log out.
export const texts = JSON.parse(document.getElementById("texts").textContent);
const token = document.documentElement.dataset.token;

export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

// A number as the page's language writes it: 52.8 or 52,8.
export const decimal = (value, digits) => value.toLocaleString(document.documentElement.lang,
  { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false });

export const byId = (id) => document.getElementById(id);

// Text is only ever set as text: what a stranger wrote never becomes markup.
export function element(name, values = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(values)) {
    if (key === "text") made.textContent = value;
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// What is wrong at the moment, by what it concerns: each stays until it is over, a failed request for a while.
const RETRY_MS = 3000;
const FAULT_SHOWN_MS = 15000;
const faults = new Map();
let faultTimer;

export function setFault(name, text) {
  if (text) faults.set(name, text);
  else faults.delete(name);
  const box = byId("fault");
  box.textContent = [...faults.values()].join(" · ");
  box.hidden = faults.size === 0;
}

export function showFault(text) {
  setFault("request", text);
  clearTimeout(faultTimer);
  if (text) faultTimer = setTimeout(() => setFault("request", ""), FAULT_SHOWN_MS);
}

// The words of the chosen language, if there are any; else those of the server or the box.
function wordsOf(found, fallback) {
  const key = `error.${found.code}`;
  return found.code && key in texts ? t(key, { why: found.error }) : found.error ?? fallback;
}

export async function request(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body),
    headers: { "content-type": "application/json", "x-leukoscope-token": token },
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error(t("fault.page"));
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.status === 401 && document.documentElement.dataset.page !== "login") location.assign("/login");
  if (!answer.ok) throw new Error(wordsOf(found, answer.statusText));
  return found;
}

// While its request is under way a button takes no click, so that a glove that taps twice sends it once. Whether it
// is disabled is not touched: that follows the box's state, which may arrive before the answer.
export function onClick(button, action) {
  button.addEventListener("click", () => run(button, action));
}

export function onSubmit(form, action) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(form.querySelector("[type=submit]"), action);
  });
}

async function run(button, action) {
  if (button.ariaBusy === "true") return;
  button.ariaBusy = "true";
  showFault("");
  try {
    await action();
  } catch (error) {
    showFault(error.message);
  } finally {
    button.ariaBusy = "false";
  }
}

export function follow(handlers) {
  const source = new EventSource("/events");
  for (const [name, handler] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => handler(JSON.parse(event.data)));
  }
  source.addEventListener("error", () => setFault("page", t("fault.page")));
  source.addEventListener("open", () => setFault("page", ""));
  source.addEventListener("broker", (event) => setFault("broker", JSON.parse(event.data).connected ? "" : t("error.broker")));
  source.addEventListener("status", (event) => {
    const status = JSON.parse(event.data);
    setFault("box", !status || status.state === "online" ? "" : t("fault.box", { state: t(`state.${status.state}`) }));
    setFault("outbox", status?.fault ?? "");
  });
  // The browser tries again by itself after a lost connection, but not after a refusal.
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(() => { source.close(); follow(handlers); }, RETRY_MS);
  });
}

export const counted = (cell) => (cell.kind === "other" ? "other" : cell.verdict);

// The class names of the models, each pair with the positive one first; and which a record has.
export const classes = JSON.parse(byId("classes").textContent);
export const classesOf = (cell) => {
  const names = Object.keys(cell.probabilities ?? {});
  const known = classes.find((pair) => names.length === 2 && pair.every((name) => names.includes(name)));
  if (known) return known;
  return names.length === 2 ? names : classes[0];
};

export function learn(pairs) {
  for (const pair of pairs) if (!classes.some((known) => known.join("\n") === pair.join("\n"))) classes.push(pair);
}

// What a class, "refer" or "other" is called, and by which style it is shown.
export const named = (kind, where = "counted") => texts[`${where}.${kind}`] ?? kind;
export function styleOf(kind) {
  if (classes.some((pair) => pair[0] === kind)) return "ALL";
  return classes.some((pair) => pair[1] === kind) ? "HEM" : kind;
}

export const probability = (cell) => cell.probabilities?.[classesOf(cell)[0]];

export function moment(text) {
  const date = new Date(text);
  if (Number.isNaN(date.valueOf())) return text;
  return date.toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "medium" });
}

const LATE_MS = 1500;

function pictureOf(cell, fresh) {
  const path = `/api/cells/${encodeURIComponent(cell.id)}/picture`;
  const image = element("img", { src: path, alt: t("cell.picture"), loading: "lazy" });
  // A cell may be announced before its record is in the database: its picture is asked for once more.
  if (fresh) image.addEventListener("error", () => setTimeout(() => { image.src = `${path}?again`; }, LATE_MS), { once: true });
  return image;
}

export function cellCard(cell, fresh = false) {
  const kind = counted(cell);
  const link = element("a", { href: `/cells/${encodeURIComponent(cell.id)}` });
  if (cell.image) link.append(pictureOf(cell, fresh));
  learn([classesOf(cell)]);
  const p = probability(cell);
  link.append(
    element("p", { class: "verdict", text: named(kind) }),
    element("p", { text: p === undefined ? "" : t("cell.p", { of: classesOf(cell)[0], p: decimal(p, 3) }) }),
  );
  if (cell.reasons?.length) link.append(element("p", { class: "soft", text: cell.reasons[0] }));
  if (cell.review) link.append(element("p", { text: t("cell.reviewed", { label: named(cell.review.label, "label"), who: cell.review.reviewer }) }));
  return element("li", { class: styleOf(kind) }, link);
}

byId("language").addEventListener("change", async (event) => {
  try {
    await request("/language", { language: event.target.value });
    location.reload();
  } catch (error) {
    showFault(error.message);
  }
});

const logout = byId("logout");
if (logout) onClick(logout, async () => { await request("/logout", {}); location.assign("/login"); });
