//! The page that a WebSocket port serves to browsers: a client of the server's system.

use echosphere_transport_ws::Pages;

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of `bin/page`, at the path of its name.
macro_rules! file {
    ($name:literal, $content_type:expr) => {
        (
            concat!("/", $name),
            $content_type,
            include_bytes!(concat!("../page/", $name)).to_vec(),
        )
    };
}

/// The page of a system: `echo`, `hub`, `chat` or `numbers`.
pub(crate) fn pages(system: &str) -> Pages {
    let index = include_bytes!("../page/index.html");
    let chosen = format!("export const system = \"{system}\";\n");
    Pages::new([
        ("/", "text/html; charset=utf-8", index.to_vec()),
        // The only file that differs between systems.
        ("/system.js", SCRIPT, chosen.into_bytes()),
        file!("style.css", "text/css; charset=utf-8"),
        file!("icon.svg", "image/svg+xml"),
        file!("app.js", SCRIPT),
        file!("bytes.js", SCRIPT),
        file!("shown.js", SCRIPT),
        file!("connection.js", SCRIPT),
        file!("ui.js", SCRIPT),
        file!("echo.js", SCRIPT),
        file!("hub.js", SCRIPT),
        file!("chat.js", SCRIPT),
        file!("numbers.js", SCRIPT),
    ])
}
