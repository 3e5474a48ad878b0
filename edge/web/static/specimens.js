// Past specimens, the newest first.
import { byId, element, moment, request, showFault, t } from "./common.js";

try {
  const { specimens } = await request("/api/specimens");
  const table = byId("specimens");
  byId("none").hidden = specimens.length > 0;
  for (const one of specimens) {
    const name = one.key || t("specimens.unnamed");
    const at = encodeURIComponent(one.key);
    byId("specimens").tBodies[0].append(element("tr", {},
      element("th", { scope: "row" }, element("a", { class: "of", href: `/cells?specimen=${at}`, text: name })),
      ...[...table.tHead.querySelectorAll("[data-count]")].map((head) => element("td", { class: "number", "data-label": head.textContent, text: one.counts[head.dataset.count] ?? 0 })),
      element("td", { class: "moment", text: moment(one.first) }),
      element("td", {}, element("a", { class: "button", href: `/report?specimen=${at}`, text: t("report") })),
      element("td", {}, element("a", { class: "button", href: `/review?specimen=${at}`, text: t("specimens.review") })),
    ));
  }
} catch (error) {
  showFault(error.message);
}
