//! Draws the medians as bars of relays per second, one group per load.

use std::fmt::Write;

use crate::report::{Summary, Table};

const WIDTH: f64 = 960.0;
const LABELS: f64 = 180.0;
const FIGURES: f64 = 230.0;
const BAR: f64 = 16.0;
const GAP: f64 = 40.0;
const TOP: f64 = 56.0;

/// Returns an SVG document. Each load has its own scale; its longest bar fills the width.
pub(crate) fn draw(summary: &Summary) -> String {
    let mut body = String::new();
    let mut y = TOP;
    for table in &summary.tables {
        y = draw_table(table, y, &mut body);
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    text(
        &mut svg,
        12.0,
        22.0,
        "Relays per second; server CPU per relay; round trip p50",
        "font-size=\"16\"",
    );
    text(
        &mut svg,
        12.0,
        40.0,
        &format!("{}; medians of {}", summary.machine, summary.rounds),
        "fill=\"#666\"",
    );
    svg.push_str(&body);
    svg.push_str("</svg>\n");
    svg
}

fn draw_table(table: &Table, top: f64, svg: &mut String) -> f64 {
    let most = table.rows.iter().map(|row| row.relays_per_s).fold(1.0, f64::max);
    text(svg, 12.0, top + 14.0, &table.load, "font-weight=\"bold\"");
    let mut y = top + 22.0;
    for row in &table.rows {
        let colour = match row.server.split(' ').next() {
            Some("echosphere") => "#1b7f5c",
            Some("epoll") => "#444",
            _ => "#b9c3cc",
        };
        let width = (WIDTH - LABELS - FIGURES) * row.relays_per_s / most;
        text(svg, 24.0, y + 12.0, &row.server, "");
        // Writing to a String does not fail.
        let _ = writeln!(
            svg,
            "<rect x=\"{LABELS}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
            BAR - 3.0
        );
        let figures = format!(
            "{:.0}k/s, {:.2} µs CPU, p50 {:.0} µs",
            row.relays_per_s / 1e3,
            row.cpu_us_per_relay,
            row.rtt_p50_us
        );
        text(svg, LABELS + width + 6.0, y + 11.0, &figures, "fill=\"#333\"");
        y += BAR;
    }
    y + GAP - BAR
}

fn text(svg: &mut String, x: f64, y: f64, words: &str, attributes: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{words}</text>");
}
