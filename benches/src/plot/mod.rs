//! Plots as SVG, written by hand: bars of a case here, lines of a scenario in `lines`, spans on a logarithmic axis in `spans`; colours change with the reader's light or dark page.
//!
//! Best on top, Serin in its own colour wherever it stands. Processor time is drawn as user, then system.

pub mod lines;

pub mod spans;

use std::fmt::Write as _;

/// A proxy's bar.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    /// Lengths of the bar's parts, first part first.
    pub parts: Vec<f64>,
    /// What is written behind it.
    pub label: String,
    pub is_serin: bool,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 56.0;
const PITCH: f64 = 30.0;
const BAR: f64 = 20.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:15px}.note{fill:#59636e}\
.own0{fill:#c2410c}.own1{fill:#f59e5b}.peer0{fill:#4b6b8f}.peer1{fill:#9db4cc}.axis{stroke:#8b949e;stroke-width:1}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.own0{fill:#f97316}.own1{fill:#fdba74}.peer0{fill:#6b93c0}.peer1{fill:#3f5a78}}";

/// The plot of `rows`, in the order given.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
pub fn bars(title: &str, note: &str, rows: &[Row]) -> String {
    let height = TOP + PITCH * rows.len() as f64 + 12.0;
    let longest = rows.iter().map(|row| row.parts.iter().sum::<f64>()).fold(0.0, f64::max);
    let scale = if longest > 0.0 { (WIDTH - LEFT - RIGHT) / longest } else { 0.0 };
    let mut svg = opening(height, title, note, "");
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + PITCH * index as f64;
        svg.push_str(&bar(row, y, scale));
    }
    let bottom = height - 12.0;
    svg +=
        &format!("<line class=\"axis\" x1=\"{LEFT}\" y1=\"{}\" x2=\"{LEFT}\" y2=\"{bottom}\"/>\n</svg>\n", TOP - 4.0);
    svg
}

fn bar(row: &Row, y: f64, scale: f64) -> String {
    let class = if row.is_serin { "own" } else { "peer" };
    let text_y = y + BAR * 0.75;
    let mut svg =
        format!("<text x=\"{:.1}\" y=\"{text_y:.1}\" text-anchor=\"end\">{}</text>", LEFT - 8.0, escape(&row.name));
    let mut x = LEFT;
    for (part, &length) in row.parts.iter().enumerate() {
        // A negative length (memory that shrank) has no bar, only its number.
        let width = (length * scale).max(0.0);
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<rect class=\"{class}{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\"/>",
            part.min(1)
        );
        x += width;
    }
    let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{text_y:.1}\">{}</text>", x + 6.0, escape(&row.label));
    svg
}

/// An image of this height with its two lines of text.
fn opening(height: f64, title: &str, note: &str, style: &str) -> String {
    let (title, note) = (escape(title), escape(note));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{title}: {note}\">\n\
         <style>{STYLE}{style}</style>\n<text class=\"title\" x=\"12\" y=\"22\">{title}</text>\n<text class=\"note\" x=\"12\" y=\"42\">{note}</text>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width() {
        let row = |name: &str, parts: &[f64]| Row {
            name: name.to_owned(),
            parts: parts.to_vec(),
            label: "<1>".to_owned(),
            is_serin: false,
        };
        let svg = bars("a & b", "note", &[row("one", &[1.0, 1.0]), row("two", &[4.0])]);
        assert!(svg.contains("width=\"510.0\"") && svg.contains("width=\"127.5\""), "{svg}");
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;1>"));
    }
}
