//! The condition language of breakers: what is read and how it is shown, what is refused and where, what holds.

use routing_rules::breaker::{Condition, Layout, Outcome, Window};

/// A condition, and how it is shown.
const READ: &[(&str, &str)] = &[
    ("NetworkErrorRatio()>0.30", "NetworkErrorRatio() > 0.3"),
    ("\n 0.5 <\tNetworkErrorRatio ( ) ", "0.5 < NetworkErrorRatio()"),
    ("RequestThreshold() == RequestThreshold()", "RequestThreshold() == RequestThreshold()"),
    ("LatencyAtQuantileMS(99.9)>=50", "LatencyAtQuantileMS(99.9) >= 50"),
    ("LatencyAtQuantileMS(100) != 0", "LatencyAtQuantileMS(100) != 0"),
    ("ResponseCodeRatio(500,600, 0 ,600)<=0.5", "ResponseCodeRatio(500, 600, 0, 600) <= 0.5"),
    ("!NetworkErrorRatio() > 1", "!NetworkErrorRatio() > 1"),
    ("!!(NetworkErrorRatio() > 1)", "!!NetworkErrorRatio() > 1"),
    (
        "RequestThreshold()>1||RequestThreshold()>2&&RequestThreshold()>3",
        "RequestThreshold() > 1 || RequestThreshold() > 2 && RequestThreshold() > 3",
    ),
    (
        "(RequestThreshold()>1||(RequestThreshold()>2))&&!(RequestThreshold()>3&&RequestThreshold()>4)",
        "(RequestThreshold() > 1 || RequestThreshold() > 2) && !(RequestThreshold() > 3 && RequestThreshold() > 4)",
    ),
];

/// A text that is refused, and what is said.
const REFUSED: &[(&str, &str)] = &[
    ("", "column 1: expected a measure or a number, found the end"),
    (
        "1 > 0",
        "column 1: a comparison needs a measure: NetworkErrorRatio(), RequestThreshold(), LatencyAtQuantileMS(99), ResponseCodeRatio(500, 600, 0, 600)",
    ),
    ("NetworkErrorRatio()", "column 20: expected one of > >= < <= == !=, found the end"),
    ("NetworkErrorRatio() = 1", "column 21: expected one of > >= < <= == !=, found `=`"),
    ("NetworkErrorRatio > 1", "column 19: expected `(`, found `>`"),
    ("NetworkErrorRatio(1) > 1", "column 19: expected `)`, found `1`"),
    ("LatencyAtQuantileMS(0) > 5", "column 21: quantile 0 is not above 0 and at most 100"),
    ("LatencyAtQuantileMS(100.5) > 5", "column 21: quantile 100.5 is not above 0 and at most 100"),
    ("LatencyAtQuantileMS() > 5", "column 21: expected a number, found `)`"),
    (
        "ResponseCodeRatio(600, 500, 0, 600) > 0.1",
        "column 24: no code is in the range from 600 to 500: its end, which is not part of it, must be larger",
    ),
    (
        "ResponseCodeRatio(500, 600, 5, 5) > 0.1",
        "column 32: no code is in the range from 5 to 5: its end, which is not part of it, must be larger",
    ),
    ("ResponseCodeRatio(500, 600) > 0.1", "column 27: expected `,`, found `)`"),
    ("ResponseCodeRatio(5.0, 600, 0, 1) > 0.1", "column 20: expected `,`, found `.`"),
    ("ResponseCodeRatio(, 600, 0, 1) > 0.1", "column 19: expected a status code, found `,`"),
    ("ResponseCodeRatio(0, 70000, 0, 1) > 0", "column 22: `70000` is larger than any status code; use 0 to 1000"),
    ("NetworkErrorRatio() > 0.1 NetworkErrorRatio() > 0.2", "column 27: expected `&&`, `||` or the end, found `N`"),
    (
        "Foo() > 1",
        "column 1: there is no measure `Foo`; use one of NetworkErrorRatio(), RequestThreshold(), LatencyAtQuantileMS(99), ResponseCodeRatio(500, 600, 0, 600)",
    ),
    ("RequestThreshold() > 1.", "column 24: expected a digit, found the end"),
    ("RequestThreshold() > .5", "column 22: expected a measure or a number, found `.`"),
    ("RequestThreshold() > -1", "column 22: expected a measure or a number, found `-`"),
    ("RequestThreshold() > 1e3", "column 23: expected `&&`, `||` or the end, found `e`"),
    ("RequestThreshold() > 9007199254740993000", "column 22: a number is at most 9007199254740992"),
    ("(RequestThreshold() > 1", "column 24: expected `)`, `&&` or `||`, found the end"),
    ("RequestThreshold() > 1)", "column 23: expected `&&`, `||` or the end, found `)`"),
    ("RequestThreshold() > 1 & 1", "column 24: expected `&&`, `||` or the end, found `&`"),
    ("RequestThreshold() > 1 &&", "column 26: expected a measure or a number, found the end"),
    ("(1) > RequestThreshold()", "column 3: expected one of > >= < <= == !=, found `)`"),
    ("RequestThreshold() > ä", "column 22: expected a measure or a number, found `ä`"),
    ("RequestThreshold() > 1 ä\u{7}", "column 24: expected `&&`, `||` or the end, found `ä`"),
];

#[test]
fn what_is_read_is_shown_in_one_way() {
    for (text, shown) in READ {
        let condition: Condition = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(condition.to_string(), *shown, "{text}");
        assert_eq!(shown.parse::<Condition>().unwrap(), condition, "{text}");
    }
}

#[test]
fn what_is_refused_names_the_column() {
    for (text, message) in REFUSED {
        assert_eq!(text.parse::<Condition>().unwrap_err().to_string(), *message, "{text}");
    }
}

#[test]
fn limits() {
    let nested = |depth: usize| format!("{}RequestThreshold() > 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(nested(32).parse::<Condition>().is_ok());
    let message = "column 33: parentheses and `!` stand inside each other more than 32 times";
    assert_eq!(nested(33).parse::<Condition>().unwrap_err().to_string(), message);
    let denied = |depth: usize| format!("{}RequestThreshold() > 1", "!".repeat(depth)).parse::<Condition>();
    assert!(denied(32).is_ok());
    assert_eq!(denied(33).unwrap_err().to_string(), message);
    let ranges = |count: usize| {
        let term = |code: usize| format!("ResponseCodeRatio({code}, 600, 0, 600) > 1");
        (0..count).map(term).collect::<Vec<_>>().join("||").parse::<Condition>()
    };
    assert!(ranges(16).is_ok());
    assert!(ranges(17).unwrap_err().to_string().ends_with("a condition has at most 16 different ranges of codes"));
    let long = format!("RequestThreshold() > {}1", " ".repeat(4_096)).parse::<Condition>();
    assert_eq!(long.unwrap_err().to_string(), "column 1: a condition is at most 4096 bytes long");
}

/// Every condition that is shown is read back as the same one.
#[test]
fn shown_and_read_back() {
    let mut random = Random(7);
    for _ in 0..5_000 {
        let text = random.condition(4);
        let condition: Condition = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let again: Condition = condition.to_string().parse().unwrap_or_else(|error| panic!("{condition}: {error}"));
        assert_eq!(again, condition, "{text}");
        let row: Vec<u64> = (0..condition.layout().cells()).map(|_| random.below(100)).collect();
        assert_eq!(again.holds(&row), condition.holds(&row), "{text}");
    }
}

/// No text makes the parser panic, and every column lies in the text or right behind it.
#[test]
fn any_text_is_read_or_refused() {
    let pieces = [
        "NetworkErrorRatio",
        "(",
        ")",
        ",",
        "1",
        "0.5",
        " ",
        "&&",
        "||",
        "!",
        ">",
        "=",
        "ä",
        ".",
        "LatencyAtQuantileMS",
    ];
    let mut random = Random(3);
    for _ in 0..20_000 {
        let text: String = (0..random.below(12)).map(|_| pieces[random.below(pieces.len() as u64) as usize]).collect();
        if let Err(error) = text.parse::<Condition>() {
            assert!((1..=text.chars().count() + 1).contains(&error.column), "{text}: {error}");
        }
    }
}

#[test]
fn measures_as_specified() {
    let refused = std::iter::repeat_n((Outcome::NetworkError, 0), 10);
    let results: Vec<_> = refused
        .chain(std::iter::repeat_n((Outcome::Answer(503), 30_000), 25))
        .chain(std::iter::repeat_n((Outcome::Answer(200), 50_000), 65))
        .collect();
    let hold = [
        "NetworkErrorRatio() == 0.1",
        "ResponseCodeRatio(500, 600, 0, 600) == 0.35",
        "ResponseCodeRatio(502, 503, 500, 600) > 0.285 && ResponseCodeRatio(502, 503, 500, 600) < 0.286",
        "ResponseCodeRatio(500, 600, 600, 700) == 0",
        "RequestThreshold() == 100",
        "LatencyAtQuantileMS(27) > 30.443701 && LatencyAtQuantileMS(27) < 30.443703",
        "LatencyAtQuantileMS(28) > 51.199999 && LatencyAtQuantileMS(28) < 51.200001",
        "LatencyAtQuantileMS(0.001) < 31 && LatencyAtQuantileMS(100) > 51",
        "!RequestThreshold() > 100 && (RequestThreshold() < 5 || RequestThreshold() >= 100)",
    ];
    for text in hold {
        let condition: Condition = text.parse().unwrap();
        assert!(condition.holds(&row(condition.layout(), &results)), "{text}");
        let negated: Condition = format!("!({text})").parse().unwrap();
        assert!(!negated.holds(&row(condition.layout(), &results)), "{text}");
    }
}

#[test]
fn without_requests_every_measure_is_zero() {
    for measure in
        ["NetworkErrorRatio()", "RequestThreshold()", "LatencyAtQuantileMS(50)", "ResponseCodeRatio(0, 1, 0, 600)"]
    {
        let condition: Condition = format!("{measure} == 0").parse().unwrap();
        assert!(condition.holds(&vec![0; condition.layout().cells()]) && condition.holds(&[]), "{measure}");
        assert!(!condition.holds_with(20, &[19]) && condition.holds_with(0, &[]), "{measure}");
    }
}

#[test]
fn results_count_as_what_the_client_gets() {
    let condition: Condition =
        "ResponseCodeRatio(502, 503, 504, 505) > 0 || LatencyAtQuantileMS(1) > 0".parse().unwrap();
    let layout = condition.layout();
    let touched = |outcome, us| layout.touched(outcome, Some(us)).collect::<Vec<_>>();
    // Results, network errors, failures; 502; 504; then the latencies from 0.1 ms on.
    assert_eq!(layout.cells(), 3 + 2 + 256);
    assert_eq!(touched(Outcome::Answer(204), 100), [0, 5]);
    assert_eq!(touched(Outcome::Answer(502), 0), [0, 2, 3, 5]);
    assert_eq!(touched(Outcome::Answer(499), u64::MAX), [0, 260]);
    assert_eq!(layout.touched(Outcome::Answer(200), None).collect::<Vec<_>>(), [0], "no sample");
    assert_eq!(touched(Outcome::NetworkError, 100), [0, 1, 2, 3]);
    assert_eq!(touched(Outcome::Timeout, 200), [0, 1, 2, 4, 21]);
    assert_eq!(touched(Outcome::BodyCut, 100), [1, 2]);
    assert_eq!(Layout::of(None).cells(), 3);
}

#[test]
fn a_window_holds_ten_seconds() {
    let layout = Layout::of(None);
    let mut window = Window::new(&layout);
    for second in 0..30_u64 {
        window.add(second * 1_000 + 999, &[1, 0, 0]);
        assert_eq!(Layout::results(window.total()), (second + 1).min(10));
    }
    window.advance(30_000);
    assert_eq!(Layout::results(window.total()), 9);
    window.advance(38_999);
    assert_eq!(Layout::results(window.total()), 1);
    window.add(5_000, &[1, 1, 1, 7, 7]);
    assert_eq!(window.total(), [2, 1, 1], "time that goes back stands still, a row that is too long is cut");
    window.advance(u64::MAX);
    assert_eq!(window.total(), [0, 0, 0]);
    window.add(u64::MAX, &[u64::MAX]);
    window.add(u64::MAX, &[u64::MAX]);
    assert_eq!(window.total(), [u64::from(u32::MAX), 0, 0]);
    window.clear();
    assert_eq!(window.total(), [0, 0, 0]);
}

/// The window is the sum of what was added in this second and the nine before it.
#[test]
fn a_window_agrees_with_the_sum() {
    let mut random = Random(11);
    let mut window = Window::new(&Layout::of(None));
    let (mut now_ms, mut added) = (0, Vec::new());
    for _ in 0..5_000 {
        let longest = if random.below(50) == 0 { 15_000 } else { 700 };
        now_ms += random.below(longest);
        let row = [random.below(9), random.below(9), random.below(9)];
        window.add(now_ms, &row);
        added.push((now_ms / 1_000, row));
        let recent = added.iter().filter(|(second, _)| second + 10 > now_ms / 1_000);
        let sum = recent.fold([0; 3], |sum, (_, row)| [sum[0] + row[0], sum[1] + row[1], sum[2] + row[2]]);
        assert_eq!(window.total(), sum, "{now_ms}");
    }
}

fn row(layout: &Layout, results: &[(Outcome, u64)]) -> Vec<u64> {
    let mut row = vec![0; layout.cells()];
    results.iter().flat_map(|(outcome, us)| layout.touched(*outcome, Some(*us))).for_each(|cell| row[cell] += 1);
    row
}

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn condition(&mut self, depth: u32) -> String {
        let kind = if depth == 0 { 0 } else { self.below(6) };
        match kind {
            1 => format!("!{}", self.unary(depth - 1)),
            2 | 3 => format!("{} && {}", self.unary(depth - 1), self.unary(depth - 1)),
            4 | 5 => format!("{} || {}", self.condition(depth - 1), self.condition(depth - 1)),
            _ => self.comparison(),
        }
    }

    fn unary(&mut self, depth: u32) -> String {
        match self.below(2) {
            0 => self.comparison(),
            _ => format!("({})", self.condition(depth)),
        }
    }

    fn comparison(&mut self) -> String {
        let sign = [">", ">=", "<", "<=", "==", "!="][self.below(6) as usize];
        let number = format!("{}.{}", self.below(120), self.below(1_000));
        match self.below(3) {
            0 => format!("{number} {sign} {}", self.measure()),
            1 => format!("{} {sign} {}", self.measure(), self.measure()),
            _ => format!("{} {sign} {number}", self.measure()),
        }
    }

    fn measure(&mut self) -> String {
        match self.below(4) {
            0 => "NetworkErrorRatio()".into(),
            1 => "RequestThreshold()".into(),
            2 => format!("LatencyAtQuantileMS({}.{})", self.below(99), 1 + self.below(99)),
            _ => "ResponseCodeRatio(500, 600, 0, 600)".into(),
        }
    }
}
