//! The terminal: its size, colours, and drawing over what was drawn.

use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

/// How text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    color: bool,
    /// Whether the locale has letters beyond ASCII.
    unicode: bool,
    width: usize,
}

/// What a text is, rather than its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Bold,
    Dim,
    Stable,
    Canary,
    Good,
    Bad,
}

impl Style {
    /// For scripts and files: no colours, 80 columns. Bars of ASCII.
    pub(super) fn plain() -> Self {
        Self { color: false, unicode: false, width: 80 }
    }

    /// As this process's terminal shows it, whatever its size.
    pub(super) fn of_this_terminal() -> Self {
        Self::of_terminal(size().map_or(80, |(_, columns)| columns))
    }

    fn of_terminal(width: usize) -> Self {
        // https://no-color.org: any value that is not empty.
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { color: !no_color, unicode: has_unicode(), width: width.clamp(80, 160) }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Stable => "36",
            Paint::Canary => "33",
            Paint::Good => "32",
            Paint::Bad => "31",
        };
        match self.color {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// A bar of at most this many columns.
    pub(super) fn bar(&self, paint: Paint, share: f64, room: usize) -> String {
        let full = (share.clamp(0.0, 1.0) * room as f64).round() as usize;
        // Somebody is more than nobody.
        let full = if share > 0.0 { full.max(1).min(room) } else { full };
        let (block, rest) = if self.unicode { ("█", "░") } else { ("#", ".") };
        let filled = self.paint(paint, &block.repeat(full));
        format!("{filled}{}", self.paint(Paint::Dim, &rest.repeat(room - full)))
    }

    /// Whether the terminal shows letters beyond ASCII.
    pub(super) fn has_unicode(&self) -> bool {
        self.unicode
    }
}

fn has_unicode() -> bool {
    // The first that is set and not empty counts (POSIX, "Environment Variables").
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// A terminal in which lines are drawn over. Its cursor comes back when dropped.
pub(super) struct Screen {
    style: Style,
    rows: usize,
    columns: usize,
    drawn: usize,
}

impl Screen {
    /// `None` if the terminal cannot show so many lines at once, or cannot move its cursor.
    pub(super) fn open(lines: usize) -> Option<Self> {
        if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
            return None;
        }
        let (rows, columns) = size().unwrap_or((24, 80));
        if rows <= lines || columns < 80 {
            return None;
        }
        write(HIDE_CURSOR);
        Some(Self { style: Style::of_terminal(columns), rows, columns, drawn: 0 })
    }

    pub(super) fn style(&self) -> &Style {
        &self.style
    }

    /// Draws lines over those of before: as many as there is room for, and as much of each.
    pub(super) fn draw(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r", self.drawn));
        }
        // The cursor stands below the last one.
        let lines = lines.get(..self.rows - 1).unwrap_or(lines);
        for line in lines {
            text.push_str(&clipped(line, self.columns - 1));
            text.push_str("\x1b[K\n");
        }
        // What was below, if there were more lines.
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        // All at once, or the eye sees the parts.
        write(&text);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(SHOW_CURSOR);
    }
}

/// So many columns of a line. Colours take none.
fn clipped(line: &str, columns: usize) -> String {
    let mut room = columns;
    let mut is_code = false;
    let fits = |letter: &char| {
        let was_code = is_code;
        is_code = if is_code { *letter != 'm' } else { *letter == '\x1b' };
        if was_code || is_code {
            return true;
        }
        let fits = room > 0;
        room = room.saturating_sub(1);
        fits
    };
    line.chars().filter(fits).collect()
}

/// Rows and columns. `stty` is wherever a terminal is; asking the system oneself takes unsafe code.
fn size() -> Option<(usize, usize)> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    let output = Command::new("stty").arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (rows, columns) = text.trim().split_once(' ')?;
    // A terminal that does not know its size says 0 0.
    Some((rows.parse().ok()?, columns.parse().ok()?)).filter(|size| *size != (0, 0))
}

/// A reader that has gone is no error.
fn write(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

#[cfg(test)]
mod tests {
    use super::clipped;

    #[test]
    fn a_line_that_is_too_long_keeps_its_colours() {
        assert_eq!(clipped("\x1b[1mabc\x1b[0m─d", 5), "\x1b[1mabc\x1b[0m─d");
        assert_eq!(clipped("\x1b[1mabc\x1b[0m─d", 2), "\x1b[1mab\x1b[0m");
        assert_eq!(clipped("", 2), "");
    }
}
