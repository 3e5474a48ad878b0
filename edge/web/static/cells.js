// The gallery: page after page, by what was asked for.
import { byId, cellCard, onClick, onSubmit, request, showFault, t } from "./common.js";

const form = byId("filters");
let next = "";

for (const [name, value] of new URLSearchParams(location.search)) if (form.elements[name]) form.elements[name].value = value;

async function load(first) {
  const query = new URLSearchParams();
  for (const field of form.elements) if (field.name && field.value !== "") query.set(field.name, field.value);
  if (first) history.replaceState(null, "", `?${query}`);
  else query.set("before", next);
  const found = await request(`/api/cells?${query}`);
  const list = byId("cells");
  if (first) list.replaceChildren();
  list.append(...found.cells.map(cellCard));
  next = found.next;
  byId("more").hidden = !next;
  byId("found").textContent = list.children.length ? t(next ? "cells.some" : "cells.found", { n: list.children.length }) : t("cells.none");
}

onSubmit(form, () => load(true));
onClick(byId("more"), () => load(false));
load(true).catch((error) => showFault(error.message));
