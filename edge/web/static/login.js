import { byId, request } from "./common.js";

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const fault = byId("login-fault");
  fault.textContent = "";
  try {
    await request("/login", { password: byId("password").value });
    location.assign("/live");
  } catch (error) {
    fault.textContent = error.message;
    byId("password").select();
  }
});
