//! Spans on a logarithmic axis: from one number to a larger one, for what differs by more than bars can show.

use std::fmt::Write as _;

use super::{TOP, WIDTH, escape, opening};

/// One row.
#[derive(Clone, Debug)]
pub struct Span {
    /// Rows of one group follow each other, below its name.
    pub group: String,
    pub name: String,
    /// Nothing is drawn of what is not above 0, but its label.
    pub from: f64,
    pub to: f64,
    pub label: String,
    pub is_serin: bool,
}

const LEFT: f64 = 110.0;
const RIGHT: f64 = 150.0;
const PITCH: f64 = 22.0;
const RADIUS: f64 = 4.5;
const STYLE: &str = ".grid{stroke:#8b949e;stroke-width:.5;opacity:.5}.s0{stroke:#c2410c;stroke-width:3}.s1{stroke:#4b6b8f;stroke-width:3}";

/// The plot of `spans`, in the order given.
#[must_use]
pub fn plot(title: &str, note: &str, spans: &[Span]) -> String {
    let groups = spans.chunk_by(|one, other| one.group == other.group).count();
    #[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
    let bottom = TOP + PITCH * (spans.len() + groups) as f64;
    let axis = Axis::of(spans);
    let mut svg = opening(bottom + 34.0, title, note, STYLE);
    svg += &axis.ticks(bottom);
    let mut y = TOP;
    for group in spans.chunk_by(|one, other| one.group == other.group) {
        let name = escape(&group[0].group);
        let _ = writeln!(svg, "<text class=\"note\" x=\"12\" y=\"{:.1}\">{name}</text>", y + PITCH * 0.7);
        y += PITCH;
        for span in group {
            svg += &axis.row(span, y + PITCH / 2.0);
            y += PITCH;
        }
    }
    svg += "</svg>\n";
    svg
}

/// From one power of ten to another.
struct Axis {
    least: i32,
    most: i32,
}

impl Axis {
    fn of(spans: &[Span]) -> Self {
        let drawn = || spans.iter().filter(|span| span.from > 0.0);
        #[expect(clippy::cast_possible_truncation, reason = "powers of ten of times")]
        let power = |number: f64| number.log10().floor() as i32;
        let least = drawn().map(|span| power(span.from)).min().unwrap_or(0);
        let most = drawn().map(|span| power(span.to) + 1).max().unwrap_or(1);
        Self { least, most }
    }

    fn x(&self, number: f64) -> f64 {
        let part = (number.log10() - f64::from(self.least)) / f64::from(self.most - self.least);
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }

    fn ticks(&self, bottom: f64) -> String {
        let mut text = String::new();
        for power in self.least..=self.most {
            let number = 10_f64.powi(power);
            let (x, top, below) = (self.x(number), TOP, bottom + 20.0);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
                 <text class=\"note\" x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{number}</text>"
            );
        }
        text
    }

    fn row(&self, span: &Span, y: f64) -> String {
        let (name, label, below) = (escape(&span.name), escape(&span.label), y + 4.5);
        let mut text = format!("<text x=\"{:.1}\" y=\"{below:.1}\" text-anchor=\"end\">{name}</text>", LEFT - 10.0);
        let mut end = LEFT;
        if span.from > 0.0 {
            let (from, to) = (self.x(span.from), self.x(span.to));
            let (line, dot) = if span.is_serin { ("s0", "own") } else { ("s1", "peer") };
            let _ = write!(
                text,
                "<line class=\"{line}\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <circle class=\"{dot}0\" cx=\"{from:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\"/>\
                 <circle class=\"{dot}1\" cx=\"{to:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\"/>"
            );
            end = to;
        }
        let _ = writeln!(text, "<text x=\"{:.1}\" y=\"{below:.1}\">{label}</text>", end + 10.0);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_as_much_is_one_tick_further() {
        let span = |name: &str, from, to| Span {
            group: "a & b".to_owned(),
            name: name.to_owned(),
            from,
            to,
            label: "<1>".to_owned(),
            is_serin: false,
        };
        let svg = plot("title", "note", &[span("one", 1.0, 10.0), span("none", 0.0, 0.0), span("two", 10.0, 99.0)]);
        // From 1 to 100: the middle is 10.
        assert!(svg.contains("x1=\"110.0\" x2=\"340.0\" y1=\"89.0\""), "{svg}");
        assert_eq!((svg.matches("a &amp; b").count(), svg.matches("<circle").count()), (1, 4), "{svg}");
        assert!(svg.contains("&lt;1>"));
    }
}
