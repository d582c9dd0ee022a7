// Starts the client of the system that this server serves.

import { system } from "/system.js";
import * as chat from "/chat.js";
import * as echo from "/echo.js";
import * as hub from "/hub.js";
import * as numbers from "/numbers.js";

const { name, summary, start } = { chat, echo, hub, numbers }[system];

document.title = `${name} · Echosphere`;
document.querySelector("#title").textContent = name;
const app = document.querySelector("#app");
const intro = document.createElement("p");
intro.className = "summary";
intro.textContent = summary;
app.append(intro);
start(app);
