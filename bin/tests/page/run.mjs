// Each system's page, used by two browsers at once. Started by .ci/page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  Proxy, Server, close, closeBrowser, figure, isSound, open, openBrowser, pictures, row, send, state,
} from "./support.mjs";

/** Runs scripts where text becomes markup. */
const MARKUP = '<img src=x onerror="globalThis.ran=true"><b>bold</b><script>globalThis.ran=true</script>';
/** A control character, a direction mark, and bytes of an invisible character. */
const HIDDEN = "a\u001b[2J\u202eb\u200b";
const HIDDEN_SHOWN = "a\\u{1b}[2J\\u{202e}b\\u{200b}";

before(openBrowser);
after(closeBrowser);

test("echo: two pages acknowledge each other's messages", async () => {
  const server = await Server.start("echo");
  const [ann, bob] = [await open(server.port), await open(server.port)];
  await Promise.all([ann, bob].map((page) => state(page, "Connected")));
  // The receiver is chosen at random: with both acknowledging, every message gets its ok.
  for (const text of [MARKUP, HIDDEN, "", "two\nlines", "x".repeat(5000)]) {
    await send(ann, text);
    await figure(ann, "Waiting for ok", /^0$/);
  }
  assert.equal(await ann.locator(".row.sent .state[data-state=done]").count(), 5);
  await row(ann, "You sent", HIDDEN_SHOWN);
  await row(ann, "You sent", "two\nlines");
  const received = async () => (await ann.locator(".row.received").count()) + (await bob.locator(".row.received").count());
  assert.equal(await received(), 5);

  // By hand: the ok is sent when the button is pressed.
  for (const page of [ann, bob]) {
    await page.getByLabel("Acknowledge received messages automatically").uncheck();
  }
  await send(bob, "by hand");
  const holder = await Promise.any([ann, bob].map(async (page) => {
    await page.getByRole("button", { name: "Acknowledge this message" }).waitFor();
    return page;
  }));
  await figure(bob, "Waiting for ok", /^1$/);
  await holder.getByRole("button", { name: "Acknowledge this message" }).click();
  await row(bob, "by hand", "ok after");
  await figure(bob, "Waiting for ok", /^0$/);

  // A long body is shortened, and shown whole on request.
  const long = await row(ann, "You sent", "xxx");
  assert.equal((await long.locator(".body").textContent()).length, 281);
  await long.getByRole("button", { name: "Show all 5,000 bytes" }).click();
  assert.equal((await long.locator(".body").textContent()).length, 5000);
  await long.getByRole("button", { name: "Show less" }).click();

  await send(ann, "Tea at four?");
  await send(bob, "שלום, ça va? 🎉");
  for (const page of [ann, bob]) {
    await isSound(page);
  }
  await pictures(ann, "echo");
  await close(ann, bob);
  await server.kill();
});

test("echo: a message waits for the server to start again on its port", async () => {
  const first = await Server.start("echo");
  const page = await open(first.port);
  await state(page, "Connected");
  await first.kill();
  await state(page, "Reconnecting…");
  assert.match(await page.locator("#status").textContent(), /connection lost \(1006\)|no connection/);
  await send(page, "sent while there was no server");
  await row(page, "sent while", "waiting for a connection");
  const second = await Server.start("echo", { port: first.port });
  await state(page, "Connected");
  await row(page, "sent while", "ok after");
  await close(page);
  await second.kill();
});

test("echo: rows are bounded", async () => {
  const server = await Server.start("echo");
  const [ann, bob] = [await open(server.port), await open(server.port)];
  await Promise.all([ann, bob].map((page) => state(page, "Connected")));
  // Both sides: rows of 600 messages, by a script in the page, as no person types as fast.
  await ann.evaluate(async () => {
    const [text, form] = [document.querySelector("textarea"), document.querySelector("form")];
    for (let sent = 0; sent < 600; ) {
      if (document.querySelectorAll(".row.sent .state[data-state=waiting]").length < 50) {
        text.value = `message ${sent++}`;
        form.requestSubmit();
      } else {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  });
  await figure(ann, "Waiting for ok", /^0$/);
  assert.equal(await ann.locator(".row").count(), 500);
  await ann.getByText(/^\d+ older rows removed$/).waitFor();
  await row(ann, "message 599");
  await close(ann, bob);
  await server.kill();
});

test("hub: two users find each other and exchange messages", async () => {
  const server = await Server.start("hub");
  const ann = await open(server.port);
  await figure(ann, "Your id", /^1$/);
  const bob = await open(server.port);
  await figure(bob, "Your id", /^2$/);
  await bob.getByRole("button", { name: "Send to user 1" }).click();
  for (const text of [MARKUP, HIDDEN, "a\n\n\nb", ""]) {
    await send(bob, text);
  }
  await row(ann, "From 2", "<img src=x onerror=");
  await row(ann, "From 2", HIDDEN_SHOWN);
  await row(ann, "From 2", "a\n\n\nb");
  await row(ann, "From 2", "empty");
  await row(bob, "You, to 1", "relayed to 1 of 1 user");
  // A delivery from an unknown user refreshes the list.
  await ann.getByRole("button", { name: "Send to user 2" }).click();
  await ann.getByLabel("To", { exact: true }).fill("2, 1, 99");
  await send(ann, "Hello both, and one who is not there");
  await row(ann, "relayed to 2 of 3 users", "no such user: 99");
  await row(ann, "From yourself", "Hello both");
  await row(bob, "From 1", "Hello both");
  await ann.getByLabel("To", { exact: true }).fill("2, x");
  await send(ann, "to a word");
  await ann.getByText('"x" is not a user id').waitFor();
  await ann.getByLabel("To", { exact: true }).fill("2");
  await send(ann, "Tea at four?");
  await row(bob, "From 1", "Tea at four?");
  for (const page of [ann, bob]) {
    await isSound(page);
  }
  await pictures(ann, "hub");
  await close(ann, bob);
  await server.kill();
});

test("hub: the keyboard alone is enough", async () => {
  const server = await Server.start("hub");
  const [ann, bob] = [await open(server.port), await open(server.port)];
  await figure(bob, "Your id", /^2$/);
  await figure(ann, "Your id", /^1$/);
  const focused = () => bob.evaluate(() => {
    const active = document.activeElement;
    return active.ariaLabel ?? active.labels?.[0]?.textContent ?? active.textContent;
  });
  const order = [];
  const tabTo = async (name) => {
    for (let at = 0; at < 20; at++) {
      await bob.keyboard.press("Tab");
      order.push(await focused());
      if (order.at(-1) === name) {
        const outline = await bob.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
        assert.equal(outline, "solid", `${name} shows that it has the focus`);
        return;
      }
    }
    assert.fail(`Tab does not reach ${name}: ${order}`);
  };
  await tabTo("Send to user 1");
  await bob.keyboard.press("Space");
  assert.equal(await focused(), "Send to user 1", "the choice keeps the focus");
  await tabTo("Message");
  await bob.keyboard.type("typed");
  await bob.keyboard.press("Shift+Enter");
  await bob.keyboard.type("in two lines");
  await bob.keyboard.press("Enter");
  await row(ann, "From 2", "typed\nin two lines");
  assert.equal(await focused(), "Message");
  await close(ann, bob);
  await server.kill();
});

test("hub: a user whose connection is lost is a new user", async () => {
  const server = await Server.start("hub");
  const proxy = await Proxy.start(server.port);
  const page = await open(proxy.port);
  await figure(page, "Your id", /^1$/);
  proxy.cut();
  await figure(page, "Your id", /^2$/);
  await row(page, "The connection of user 1 ended. You get a new id.");
  await close(page);
  proxy.close();
  await server.kill();
});

test("chat: one page at a time; the second one takes the place that is free", async () => {
  const server = await Server.start("chat");
  const [ann, bob] = [await open(server.port), await open(server.port)].reverse();
  // The first to connect has the server.
  await state(bob, "Connected");
  await state(ann, "Busy");
  await ann.getByText("The server is talking with another client.").waitFor();
  await pictures(ann, "chat-busy");
  await send(bob, MARKUP);
  await row(bob, "You", "acknowledged after");
  await server.prints(/<img src=x onerror/);
  await bob.getByRole("button", { name: "Leave" }).click();
  await ann.getByRole("button", { name: "Try again" }).click();
  await state(ann, "Connected");
  await send(ann, "x".repeat(300_000));
  await row(ann, "xxx", "acknowledged after");
  await send(ann, "Tea at four?");
  await server.prints(/Tea at four\?/);
  server.type(`${MARKUP}${HIDDEN}\n`);
  await row(ann, "Server", "<img src=x onerror=", HIDDEN_SHOWN);
  assert.match(await figure(ann, "Median", /ms|s$/), /\d/);
  await isSound(ann);
  await pictures(ann, "chat");
  await close(ann, bob);
  await server.kill();
});

test("chat: a session continues after a lost connection, and every message arrives once", async () => {
  const server = await Server.start("chat");
  const proxy = await Proxy.start(server.port);
  const page = await open(proxy.port);
  await send(page, "before");
  await row(page, "before", "acknowledged after");
  proxy.cut();
  await send(page, "during");
  await row(page, "Connected again. The chat continues.");
  await row(page, "during", "acknowledged");
  await send(page, "after");
  await server.prints(/after/);
  for (const text of ["before", "during", "after"]) {
    assert.equal(server.output.split(text).length, 2, server.output);
  }
  await close(page);
  proxy.close();
  await server.kill();
});

const FAST = { more: ["--period", "50ms"] };

async function session(page, amount) {
  await page.getByLabel("How many numbers").fill(String(amount));
  await page.getByRole("button", { name: "Start" }).click();
}

test("numbers: two sessions survive lost connections", async () => {
  const server = await Server.start("numbers", FAST);
  const proxy = await Proxy.start(server.port);
  const [ann, bob] = [await open(proxy.port), await open(proxy.port)];
  await session(ann, 60);
  await session(bob, 40);
  for (const place of ["5.  ", "20.  "]) {
    await row(ann, place);
    assert.ok(proxy.cut() >= 2);
  }
  for (const [page, amount] of [[ann, 60], [bob, 40]]) {
    await row(page, "Complete. The checksum agrees");
    await figure(page, "Received", `${amount} of ${amount}`);
    await figure(page, "Lost connections", "2");
    await row(page, "Count and checksum agree.");
    assert.equal(await page.locator(".row.received").count(), amount);
    await isSound(page);
  }
  await pictures(ann, "numbers");
  await close(ann, bob);
  proxy.close();
  await server.kill();
});

test("numbers: a plain stream continues on a server that was started again", async () => {
  const first = await Server.start("numbers", FAST);
  const page = await open(first.port);
  await page.getByLabel("Stream").selectOption("plain");
  await page.getByRole("button", { name: "Start" }).click();
  await row(page, "5.  ");
  await first.kill();
  await row(page, "The connection was lost after");
  const got = await page.locator(".row.received").count();
  const second = await Server.start("numbers", { ...FAST, port: first.port });
  await row(page, `${got + 5}.  `);
  // Each number is three times the one before, over the restart too.
  const rows = await page.locator(".row.received .label").allTextContents();
  const values = rows.map((text) => BigInt(text.split(/\s+/)[1]));
  values.slice(1).forEach((value, at) => assert.equal(value, BigInt.asUintN(64, 3n * values[at])));
  await page.getByRole("button", { name: "Stop" }).click();
  await state(page, "Stopped");
  await close(page);
  await second.kill();
});

test("numbers: a server that lost the session says so", async () => {
  const first = await Server.start("numbers", FAST);
  const page = await open(first.port);
  await session(page, 1000);
  await row(page, "3.  ");
  await first.kill();
  const second = await Server.start("numbers", { ...FAST, port: first.port });
  await state(page, "Ended: unknown-session");
  await page.getByRole("button", { name: "Start" }).waitFor();
  await close(page);
  await second.kill();
});
