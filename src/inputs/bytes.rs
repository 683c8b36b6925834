//! Contents of files of many kinds, for models that read bytes.

use rand::RngExt;

use super::Part;
use crate::quality::default_corpus;

/// `count` byte values of file `index`: its beginning, and its end where it is longer.
pub(super) fn file(part: Part, index: usize, count: usize) -> Vec<u8> {
    let mut random = super::random(part, index);
    let words: Vec<&str> =
        default_corpus().split_whitespace().skip(random.random_range(0..400)).take(600).collect();
    let number = random.random_range(10..9000u32);
    let mut line = |i: usize, w: &[&str]| -> String {
        let (a, b) = (w[0].trim_matches(|c: char| !c.is_alphanumeric()), w[1]);
        match index % 8 {
            0 => format!("{} ", w.join(" ")),
            1 => format!(
                "{{\"id\": {i}, \"name\": \"{a}\", \"score\": {}.{i}}},\n",
                number + i as u32
            ),
            2 => format!("{i},{a},{b},{}\n", random.random_range(0..999)),
            3 => format!(
                "def {}_{i}(x):\n    return x * {i} + {number}  # {b}\n\n",
                a.to_lowercase()
            ),
            4 => format!("<div class=\"c{i}\"><p>{}</p></div>\n", w.join(" ")),
            5 => format!("[section{i}]\nkey = {a}\nvalue = {number}\n"),
            6 => format!("## {a} {i}\n\n- {}\n- `{b}`\n", w.join(" ")),
            _ => format!("static int f{i}(int n) {{ return n << {}; }} /* {a} */\n", i % 16),
        }
    };
    let mut text = String::new();
    for (i, chunk) in words.chunks_exact(6).enumerate().cycle() {
        if text.len() >= count {
            break;
        }
        text.push_str(&line(i, chunk));
    }
    text.into_bytes().into_iter().take(count).collect()
}
