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
      element("th", { scope: "row" }, element("a", { href: `/cells?specimen=${at}`, text: name })),
      ...[...table.tHead.querySelectorAll("[data-count]")].map((head) => one.counts[head.dataset.count] ?? 0).map((n) => element("td", { class: "number", text: n })),
      element("td", { text: moment(one.first) }),
      element("td", {}, element("a", { href: `/report?specimen=${at}`, text: t("report") })),
      element("td", {}, element("a", { href: `/review?specimen=${at}`, text: t("specimens.review") })),
    ));
  }
} catch (error) {
  showFault(error.message);
}
