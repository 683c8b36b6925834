//! The metadata a runtime needs to load the file: hyperparameters and a tokenizer of the exact vocabulary size.

use crate::catalog::entry::Shape;
use crate::formats::gguf::Encoded;

type Keys = Vec<(String, Encoded)>;

pub(super) fn keys(name: &str, s: &Shape) -> Keys {
    let mut keys: Keys = vec![
        ("general.architecture".into(), Encoded::string(&s.architecture)),
        ("general.name".into(), Encoded::string(name)),
        ("general.description".into(), Encoded::string("random weights, for measuring speed only")),
    ];
    hyperparameters(s, &mut keys);
    tokenizer(s.vocabulary, &mut keys);
    keys
}

fn hyperparameters(s: &Shape, keys: &mut Keys) {
    let arch = &s.architecture;
    let dim = s.head_width();
    let mut int = |key: &str, value: u32| {
        if value > 0 {
            keys.push((format!("{arch}.{key}"), Encoded::u32(value)));
        }
    };
    int("block_count", s.layers);
    int("context_length", u32::try_from(s.context).unwrap_or(u32::MAX));
    int("embedding_length", s.hidden);
    int("feed_forward_length", if s.ffn > 0 { s.ffn } else { s.expert_ffn });
    int("attention.head_count", s.heads);
    int("attention.head_count_kv", s.kv_heads);
    int("attention.key_length", dim);
    int("attention.value_length", dim);
    int("rope.dimension_count", dim);
    int("vocab_size", s.vocabulary);
    int("attention.sliding_window", s.window);
    int("expert_count", s.experts);
    int("expert_used_count", s.experts_used);
    int("expert_feed_forward_length", s.expert_ffn);
    int("expert_shared_feed_forward_length", s.shared_ffn);
    let float = |key: &str, value: f64| (format!("{arch}.{key}"), Encoded::f32(value as f32));
    let epsilon = if s.norm_epsilon > 0.0 { s.norm_epsilon } else { 1e-5 };
    // One family reads the first, the other the second.
    keys.push(float("attention.layer_norm_rms_epsilon", epsilon));
    keys.push(float("attention.layer_norm_epsilon", epsilon));
    if s.rope_base > 0.0 {
        keys.push(float("rope.freq_base", s.rope_base));
    }
    if arch == "cohere2" {
        keys.push(float("logit_scale", 0.25));
    }
}

/// Byte-pair tokens for all bytes, a few real pairs, and fillers up to the vocabulary; the last one is begin and end.
fn tokenizer(vocabulary: u32, keys: &mut Keys) {
    const PAIRS: [(&str, &str); 6] =
        [("t", "h"), ("i", "n"), ("e", "r"), ("a", "n"), ("o", "n"), ("r", "e")];
    let size = vocabulary as usize;
    let mut tokens: Vec<String> = (0..=255u8).map(|b| byte_token(b).to_string()).collect();
    tokens.extend(PAIRS.iter().map(|(a, b)| format!("{a}{b}")));
    tokens.truncate(size.saturating_sub(1));
    tokens.extend((tokens.len()..size.saturating_sub(1)).map(|n| format!("<filler_{n}>")));
    tokens.push("<|end|>".into());
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    let mut types = vec![NORMAL; tokens.len()];
    if let Some(last) = types.last_mut() {
        *last = CONTROL;
    }
    let last = u32::try_from(tokens.len() - 1).unwrap_or(u32::MAX);
    let mut add = |key: &str, value| keys.push((format!("tokenizer.ggml.{key}"), value));
    add("model", Encoded::string("gpt2"));
    add("pre", Encoded::string("gpt-2"));
    add("tokens", Encoded::strings(&tokens));
    add("token_type", Encoded::i32s(&types));
    add("merges", Encoded::strings(PAIRS.iter().map(|(a, b)| format!("{a} {b}"))));
    add("bos_token_id", Encoded::u32(last));
    add("eos_token_id", Encoded::u32(last));
    add("add_bos_token", Encoded::bool(false));
}

/// GPT-2's printable stand-in for a byte: itself where printable, else a character from 256 up.
fn byte_token(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(256 + before).unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_tokens_are_those_of_gpt2() {
        assert_eq!(byte_token(b'\n'), '\u{10a}');
        assert_eq!(byte_token(b' '), '\u{120}');
        assert_eq!(byte_token(b'a'), 'a');
        let all: std::collections::HashSet<char> = (0..=255).map(byte_token).collect();
        assert_eq!(all.len(), 256);
    }
}
