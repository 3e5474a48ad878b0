// What every page needs: texts, requests with the session's token, events of the box, language, log out.
export const texts = JSON.parse(document.getElementById("texts").textContent);
const token = document.documentElement.dataset.token;

export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

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

let faultTimer;
export function showFault(text) {
  const box = byId("fault");
  box.textContent = text;
  box.hidden = !text;
  clearTimeout(faultTimer);
  if (text) faultTimer = setTimeout(() => { box.hidden = true; }, 15000);
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
  if (!answer.ok) throw new Error(found.error ?? answer.statusText);
  return found;
}

// A button is off while its request is under way, so that a glove that taps twice sends it once.
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
  button.disabled = true;
  showFault("");
  try {
    await action();
  } catch (error) {
    showFault(error.message);
  } finally {
    button.disabled = false;
  }
}

export function follow(handlers) {
  const source = new EventSource("/events");
  for (const [name, handler] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => handler(JSON.parse(event.data)));
  }
  source.addEventListener("error", () => showFault(t("fault.page")));
  source.addEventListener("open", () => showFault(""));
}

export const counted = (cell) => (cell.kind === "other" ? "other" : cell.verdict);

export function moment(text) {
  const date = new Date(text);
  if (Number.isNaN(date.valueOf())) return text;
  return date.toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "medium" });
}

export function cellCard(cell) {
  const kind = counted(cell);
  const link = element("a", { href: `/cells/${encodeURIComponent(cell.id)}` });
  if (cell.image) link.append(element("img", { src: `/api/cells/${encodeURIComponent(cell.id)}/picture`, alt: "", loading: "lazy" }));
  const p = cell.probabilities?.ALL;
  link.append(
    element("p", { class: "verdict", text: t(`counted.${kind}`) }),
    element("p", { text: p === undefined ? "" : t("cell.p", { p: p.toFixed(2) }) }),
  );
  if (cell.reasons?.length) link.append(element("p", { class: "soft", text: cell.reasons[0] }));
  if (cell.review) link.append(element("p", { text: t("cell.reviewed", { label: t(`label.${cell.review.label}`), who: cell.review.reviewer }) }));
  return element("li", { class: kind }, link);
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
