//! Lines over time, one for each proxy, with the time of the fault shaded.

use std::fmt::Write as _;
use std::ops::Range;

use super::{TOP, WIDTH, escape, opening};

/// A proxy's line: numbers at equal distances.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub values: Vec<f64>,
    pub is_serin: bool,
}

/// What is drawn around the lines.
#[derive(Clone, Debug)]
pub struct Frame {
    pub title: String,
    pub note: String,
    /// From one value to the next.
    pub step_s: f64,
    pub length_s: f64,
    /// Shaded.
    pub fault_s: Range<f64>,
    /// Higher values are cut.
    pub top: f64,
}

const STYLE: &str = ".fault{fill:#8b949e;opacity:.15}.line{fill:none;stroke-width:1.5}.l0{stroke:#c2410c;stroke-width:3}\
.l1{stroke:#2563eb}.l2{stroke:#15803d}.l3{stroke:#9333ea}.l4{stroke:#0891b2}.grid{stroke:#8b949e;stroke-width:.5;opacity:.5}";
const PEERS: usize = 4;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 20.0;
const DEPTH: f64 = 220.0;
/// Between title and plot is a row with the names.
const BOTTOM: f64 = TOP + 20.0 + DEPTH;

/// The plot of `lines`, Serin's in its own colour.
#[must_use]
pub fn plot(frame: &Frame, lines: &[Line]) -> String {
    let mut svg = opening(BOTTOM + 34.0, &frame.title, &frame.note, STYLE);
    svg += &frame.shade();
    svg += &frame.levels();
    svg += &frame.seconds();
    let mut peers = 0;
    for (place, line) in lines.iter().enumerate() {
        let class = if line.is_serin { 0 } else { 1 + peers % PEERS };
        peers += usize::from(!line.is_serin);
        svg += &frame.line(line, class);
        svg += &legend(&line.name, place, class);
    }
    svg += "</svg>\n";
    svg
}

impl Frame {
    fn x(&self, at_s: f64) -> f64 {
        LEFT + at_s / self.length_s * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - value.min(self.top) / self.top * DEPTH
    }

    fn shade(&self) -> String {
        let (from, to) = (self.x(self.fault_s.start), self.x(self.fault_s.end));
        let (top, width) = (BOTTOM - DEPTH, to - from);
        format!("<rect class=\"fault\" x=\"{from:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{DEPTH}\"/>\n")
    }

    fn levels(&self) -> String {
        let (from, to, text) = (LEFT, WIDTH - RIGHT, LEFT - 6.0);
        let level = |part: u32| {
            let value = self.top * f64::from(part) / 4.0;
            let (y, text_y) = (self.y(value), self.y(value) + 4.0);
            format!(
                "<line class=\"grid\" x1=\"{from}\" x2=\"{to}\" y1=\"{y}\" y2=\"{y}\"/>\
                 <text class=\"note\" x=\"{text}\" y=\"{text_y}\" text-anchor=\"end\">{value:.1}</text>\n"
            )
        };
        (0..=4).map(level).collect()
    }

    fn seconds(&self) -> String {
        let step_s = if self.length_s > 12.0 { 5.0 } else { 1.0 };
        let times = (0..).map(|step: u32| f64::from(step) * step_s).take_while(|at_s| *at_s <= self.length_s);
        let y = BOTTOM + 20.0;
        let second = |at_s: f64| {
            let x = self.x(at_s);
            format!("<text class=\"note\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{at_s} s</text>\n")
        };
        times.map(second).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "half seconds of a run")]
    fn line(&self, line: &Line, class: usize) -> String {
        let mut points = String::new();
        for (step, value) in line.values.iter().enumerate() {
            // In the middle of its time. Writing to a String cannot fail.
            let _ = write!(points, "{:.1},{:.1} ", self.x((step as f64 + 0.5) * self.step_s), self.y(*value));
        }
        format!("<polyline class=\"line l{class}\" points=\"{}\"/>\n", points.trim_end())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful of lines")]
fn legend(name: &str, place: usize, class: usize) -> String {
    let (from, y) = (LEFT + 110.0 * place as f64, TOP + 6.0);
    let (to, text, text_y, name) = (from + 22.0, from + 28.0, y + 4.0, escape(name));
    format!(
        "<line class=\"line l{class}\" x1=\"{from}\" x2=\"{to}\" y1=\"{y}\" y2=\"{y}\"/><text x=\"{text}\" y=\"{text_y}\">{name}</text>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_within_the_frame() {
        let (title, note) = ("a & b".to_owned(), String::new());
        let frame = Frame { title, note, step_s: 0.5, length_s: 1.0, fault_s: 0.5..1.0, top: 2.0 };
        let line = |values: &[f64]| Line { name: "<1>".to_owned(), values: values.to_vec(), is_serin: false };
        let svg = plot(&frame, &[line(&[0.0, 9.0]), line(&[1.0, 2.0])]);
        // The bottom, the middle, the top; what is too high is at the top too.
        assert!(svg.contains("\"208.0,296.0 536.0,76.0\"") && svg.contains("\"208.0,186.0 536.0,76.0\""), "{svg}");
        assert!(svg.contains("line l1") && svg.contains("line l2"));
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;1>"));
    }
}
