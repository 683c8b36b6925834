//! Numbers as people read them, and untrusted text made safe for each output.

/// Bytes in decimal units: `135 MB`, `4.02 GB`.
pub(crate) fn bytes(n: f64) -> String {
    const UNITS: [(&str, f64); 5] =
        [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)];
    if !n.is_finite() {
        return "–".into();
    }
    let (name, scale) = UNITS.into_iter().find(|(_, s)| n.abs() >= *s).unwrap_or(("B", 1.0));
    format!("{} {name}", significant(n / scale))
}

/// A duration given in nanoseconds: `3.42 ms`, `1.20 s`.
pub(crate) fn duration_ns(ns: f64) -> String {
    const UNITS: [(&str, f64); 4] = [("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0)];
    if !ns.is_finite() {
        return "–".into();
    }
    let (name, scale) = UNITS.into_iter().find(|(_, s)| ns.abs() >= *s).unwrap_or(("ns", 1.0));
    format!("{} {name}", significant(ns / scale))
}

/// Three significant digits; whole numbers from 100 on, an exponent only below 0.00001.
pub(crate) fn significant(x: f64) -> String {
    if !x.is_finite() {
        return "–".into();
    }
    if x == 0.0 {
        return "0".into();
    }
    if x.abs() < 1e-5 {
        return format!("{x:.2e}");
    }
    // Rounded first, so that 9.996 is `10.0` and not `10.00`.
    let digits = |v: f64| v.abs().log10().floor() as i32;
    let unit = 10f64.powi(digits(x) - 2);
    let places = (2 - digits((x / unit).round() * unit)).clamp(0, 9) as usize;
    format!("{x:.places$}")
}

/// A value in its metric's unit.
pub(crate) fn value(unit: crate::model::Unit, x: f64) -> String {
    use crate::model::Unit;
    match unit {
        Unit::Bytes => bytes(x),
        Unit::Nanoseconds => duration_ns(x),
        Unit::TokensPerSecond | Unit::PerSecond | Unit::Joules | Unit::Nats => {
            format!("{} {}", significant(x), unit.symbol())
        }
        Unit::Ratio => format!("{} %", significant(x * 100.0)),
        Unit::One => significant(x),
    }
}

/// `n` and the noun, with a plural `s` where `n` is not one.
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// One line without control, bidirectional-override or other invisible formatting characters.
pub(crate) fn plain(s: &str) -> String {
    clean(s, false)
}

/// As [`plain`], but line ends stay.
pub(crate) fn plain_lines(s: &str) -> String {
    clean(s, true)
}

fn clean(s: &str, keep_lines: bool) -> String {
    s.chars()
        .filter_map(|c| match c {
            '\n' if keep_lines => Some('\n'),
            '\n' | '\t' => Some(' '),
            c if c.is_control() => None,
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => None,
            c => Some(c),
        })
        .collect()
}

/// Lines of at most `width` characters, broken at spaces, and within a word that is wider than the line. Never empty.
pub(crate) fn wrap(s: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut column = 0;
    for word in s.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (i, piece) in letters.chunks(width.max(1)).enumerate() {
            let line = lines.last_mut().expect("never empty");
            if column > 0 && (i > 0 || column + 1 + piece.len() > width) {
                lines.push(piece.iter().collect());
                column = piece.len();
                continue;
            }
            if column > 0 {
                line.push(' ');
                column += 1;
            }
            line.extend(piece);
            column += piece.len();
        }
    }
    lines
}

/// [`wrap`] as one text: `first` before the first line, as much space before the others, a line feed behind each.
pub(crate) fn paragraph(first: &str, s: &str, width: usize) -> String {
    let indent = first.chars().count();
    let lines = wrap(s, width.saturating_sub(indent));
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        let before = if i == 0 { first.to_owned() } else { " ".repeat(indent) };
        out.push_str(format!("{before}{line}").trim_end());
        out.push('\n');
    }
    out
}

/// Cut to `max` characters, with an ellipsis where something was lost.
pub(crate) fn shorten(s: &str, max: usize) -> String {
    if s.chars().count() <= max {
        return s.to_owned();
    }
    let mut out: String = s.chars().take(max.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// Text for a Markdown table cell: no markup, no mention, no HTML, one line.
pub(crate) fn markdown(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in plain(s).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    // A bare address would become a link.
    out.replace("://", ":&#47;&#47;")
}

/// Text for a CSV cell: a spreadsheet must not take it for a formula.
pub(crate) fn csv_text(s: &str) -> String {
    let s = plain(s);
    match s.trim_start().chars().next() {
        Some('=' | '+' | '-' | '@') => format!("'{s}"),
        _ => s,
    }
}

/// Standard base64 with padding.
pub(crate) fn base64(data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(data.len().div_ceil(3) * 4);
    for chunk in data.chunks(3) {
        let b = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let n = u32::from(b[0]) << 16 | u32::from(b[1]) << 8 | u32::from(b[2]);
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(char::from(ALPHABET[(n >> (18 - 6 * i)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_significant_digits() {
        for (x, text) in [
            (0.0, "0"),
            (1.0, "1.00"),
            (9.996, "10.0"),
            (99.96, "100"),
            (138.4, "138"),
            (0.003_421, "0.00342"),
            (4.061e-7, "4.06e-7"),
            (-2.5, "-2.50"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(significant(x), text);
        }
        assert_eq!(bytes(4.02e9), "4.02 GB");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(duration_ns(3.42e6), "3.42 ms");
    }

    #[test]
    fn hostile_text_is_disarmed_for_each_output() {
        assert_eq!(plain("a\u{1b}[31mb\u{202e}c\nd"), "a[31mbc d");
        assert_eq!(csv_text("=cmd()"), "'=cmd()");
        assert_eq!(csv_text("  @x"), "'  @x");
        assert_eq!(csv_text("\t=1"), "' =1");
        assert_eq!(markdown("a|b <script> @me `x`"), "a\\|b &lt;script&gt; &#64;me \\`x\\`");
        assert!(!markdown("see https://x").contains("://"));
    }

    #[test]
    fn wrapping_keeps_the_width_even_for_long_words() {
        let lines = wrap(&format!("a {} b", "x".repeat(100)), 30);
        assert!(lines.iter().all(|l| l.chars().count() <= 30), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', "").len(), 102);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(paragraph("note: ", "one two three", 13), "note: one two\n      three\n");
    }

    #[test]
    fn base64_matches_known_answers() {
        for (raw, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(raw.as_bytes()), text);
        }
    }
}
