// Servers, a proxy whose connections can be cut, and pages.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import net from "node:net";
import { chromium } from "playwright-core";

const PROGRAM = process.env.ECHOSPHERE;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const SHOTS = process.env.SHOTS;
/** The longest wait for anything, in milliseconds. */
export const TIMEOUT = 20_000;

export class Server {
  output = "";
  #waiting = new Set();

  /** Starts a server whose WebSocket port is `port`, or any. */
  static async start(system, { port = 0, more = [] } = {}) {
    const server = new Server();
    const plain = system === "numbers" ? ["--tcp", "127.0.0.1:0"] : ["--listen", "127.0.0.1:0"];
    const args = [system, "serve", "--ws", `127.0.0.1:${port}`, ...plain, ...more];
    // An empty environment: no setting of the caller changes a server.
    server.child = spawn(PROGRAM, args, { stdio: ["pipe", "pipe", "pipe"], env: {}, cwd: "/" });
    servers.add(server.child);
    server.ended = once(server.child, "close");
    for (const stream of [server.child.stdout, server.child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        server.output += text;
        server.#waiting.forEach((check) => check());
      });
    }
    const [, at] = await server.prints(/http:\/\/127\.0\.0\.1:(\d+)\//);
    server.port = Number(at);
    return server;
  }

  /** Waits until the output matches. */
  prints(pattern) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${pattern} in: ${this.output}`)), TIMEOUT);
      const check = () => {
        const match = pattern.exec(this.output);
        if (match !== null) {
          clearTimeout(timer);
          this.#waiting.delete(check);
          resolve(match);
        }
      };
      this.#waiting.add(check);
      check();
    });
  }

  type(text) {
    this.child.stdin.write(text);
  }

  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }
}

/** Passes bytes to a port. Its connections can be cut. */
export class Proxy {
  #pairs = new Set();

  static async start(port) {
    const proxy = new Proxy();
    proxy.listener = net.createServer((client) => proxy.#pass(client, net.connect(port, "127.0.0.1")));
    proxy.listener.listen(0, "127.0.0.1");
    await once(proxy.listener, "listening");
    proxy.port = proxy.listener.address().port;
    return proxy;
  }

  #pass(client, server) {
    const pair = [client, server];
    this.#pairs.add(pair);
    client.pipe(server).pipe(client);
    for (const socket of pair) {
      socket.on("error", () => {});
      socket.on("close", () => {
        pair.forEach((other) => other.destroy());
        this.#pairs.delete(pair);
      });
    }
  }

  /** Ends every connection with a reset. */
  cut() {
    const pairs = [...this.#pairs];
    pairs.flat().forEach((socket) => socket.resetAndDestroy());
    return pairs.length;
  }

  close() {
    this.cut();
    this.listener.close();
  }
}

const servers = new Set();
let browser;

export async function openBrowser() {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
}

export async function closeBrowser() {
  // A test that failed has left its server.
  servers.forEach((child) => child.kill("SIGKILL"));
  await browser.close();
}

/** Opens the page of a port in a browser context of its own. Errors of the page fail the test at `close`. */
export async function open(port, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 900 }, ...options });
  context.setDefaultTimeout(TIMEOUT);
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  page.on("dialog", (dialog) => page.problems.push(`a dialog: ${dialog.message()}`));
  page.on("console", (message) => {
    // A refused connection is logged as an error, and expected in some tests.
    if (message.type() === "error" && !message.text().includes("WebSocket connection to")) {
      page.problems.push(message.text());
    }
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(`http://127.0.0.1:${port}/`)) {
      page.problems.push(`a request to another host: ${request.url()}`);
    }
  });
  await page.goto(`http://127.0.0.1:${port}/`);
  return page;
}

export async function close(...pages) {
  for (const page of pages) {
    assert.deepEqual(page.problems, []);
    await page.context().close();
  }
}

export const state = (page, text) => page.locator("#status").filter({ hasText: text }).waitFor();

/** Waits for a row with these texts, and returns it. */
export async function row(page, ...texts) {
  const found = texts.reduce((rows, hasText) => rows.filter({ hasText }), page.locator(".row"));
  await found.last().waitFor();
  return found.last();
}

export async function send(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

export async function figure(page, name, text) {
  const value = page.locator(".figures div").filter({ has: page.getByText(name, { exact: true }) }).locator("dd");
  await value.filter({ hasText: text }).waitFor();
  return value.textContent();
}

/** What may not be in the page: markup of a message, or a page wider than the window. */
export async function isSound(page) {
  const found = await page.evaluate(() => ({
    markup: document.querySelectorAll("img, b, .row script, .row a").length,
    ran: globalThis.ran === true,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    unlabelled: [...document.querySelectorAll("input, textarea, select, button")]
      .filter((control) => !control.labels?.length && !control.ariaLabel && !control.textContent.trim()).length,
  }));
  assert.deepEqual(found, { markup: 0, ran: false, overflow: 0, unlabelled: 0 });
}

/** Pictures of the page in light, dark and at the width of a phone, if `SHOTS` is a folder. In each the page must be sound. */
export async function pictures(page, name) {
  const looks = [
    ["light", "light", 1000, 900], ["dark", "dark", 1000, 900], ["phone", "light", 360, 740], ["phone-dark", "dark", 360, 740],
  ];
  const papers = {};
  for (const [look, colorScheme, width, height] of looks) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height });
    await isSound(page);
    papers[look] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    if (SHOTS !== undefined) {
      mkdirSync(SHOTS, { recursive: true });
      await page.screenshot({ path: `${SHOTS}/${name}-${look}.png`, fullPage: true });
    }
  }
  assert.notEqual(papers.light, papers.dark);
}
