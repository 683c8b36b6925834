//! The metadata a runtime needs to load the file: hyperparameters and a tokenizer of the exact vocabulary size.

use crate::catalog::build::{ffn_width, has_delta_nets, layers};
use crate::catalog::entry::Shape;
use crate::formats::gguf::Encoded;
use crate::model::Attention;

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
    let mut add = |key: &str, value: Encoded| keys.push((format!("{arch}.{key}"), value));
    let epsilon = if s.norm_epsilon > 0.0 { s.norm_epsilon } else { 1e-5 };
    let (key_length, value_length) = match s.kv_lora {
        0 => (s.full_head_width(), s.full_head_width()),
        rank => (rank + s.rope_dim, rank),
    };
    let windowed = |value| if s.full_head_dim > 0 { value } else { 0 };
    let interval = s.attention_layers.first().map_or(0, |first| first + 1);
    let numbers = [
        ("block_count", s.layers),
        ("context_length", u32::try_from(s.context).unwrap_or(u32::MAX)),
        ("embedding_length", s.hidden),
        ("attention.head_count", s.heads),
        ("attention.key_length", key_length),
        ("attention.value_length", value_length),
        ("attention.key_length_swa", windowed(s.head_width())),
        ("attention.value_length_swa", windowed(s.head_width())),
        ("attention.sliding_window", s.window),
        ("attention.shared_kv_layers", s.shared_kv_layers),
        ("attention.q_lora_rank", s.q_lora),
        ("attention.kv_lora_rank", s.kv_lora),
        ("attention.key_length_mla", if s.kv_lora > 0 { s.nope_dim + s.rope_dim } else { 0 }),
        ("attention.value_length_mla", s.value_dim),
        ("full_attention_interval", if has_delta_nets(s) { interval } else { 0 }),
        ("rope.dimension_count", rotated(s)),
        ("rope.dimension_count_swa", windowed(s.head_width())),
        ("vocab_size", s.vocabulary),
        ("expert_count", s.experts),
        ("expert_used_count", s.experts_used),
        ("expert_feed_forward_length", s.expert_ffn),
        ("expert_shared_feed_forward_length", s.shared_ffn),
        ("expert_shared_count", s.shared_ffn.checked_div(s.expert_ffn).unwrap_or(0)),
        ("expert_gating_func", if s.router_bias { SIGMOID } else { 0 }),
        ("leading_dense_block_count", s.dense_layers),
        ("interleave_moe_layer_step", s.experts.min(1)),
        ("shortconv.l_cache", s.conv_taps),
        ("ssm.conv_kernel", s.ssm_conv),
        ("ssm.inner_size", s.ssm_inner),
        ("ssm.state_size", s.ssm_state),
        ("ssm.time_step_rank", s.ssm_heads),
        ("ssm.group_count", s.ssm_groups),
    ];
    for (key, value) in numbers.into_iter().filter(|(_, value)| *value > 0) {
        add(key, Encoded::u32(value));
    }
    let spec = layers(s);
    let kv_heads = spec.iter().map(|l| match *l {
        Attention::Gqa { kv_heads, .. } | Attention::Parallel { kv_heads, .. } => kv_heads,
        Attention::Mla { .. } => 1,
        Attention::Encoder { heads, .. } => heads,
        // Told by the interval, not by heads.
        Attention::Recurrent { .. } if has_delta_nets(s) => s.kv_heads,
        Attention::Recurrent { .. } | Attention::None => 0,
    });
    add("attention.head_count_kv", per_layer(kv_heads));
    add("feed_forward_length", per_layer((0..s.layers).map(|n| ffn_width(s, n))));
    if arch == "gemma4" {
        add("embedding_length_per_layer_input", Encoded::u32(s.per_layer));
    }
    if s.window_period > 0 {
        let windows = spec.iter().map(|l| matches!(l, Attention::Gqa { window: Some(_), .. }));
        add("attention.sliding_window_pattern", Encoded::bools(&windows.collect::<Vec<_>>()));
    }
    if arch.starts_with("qwen35") {
        add("rope.dimension_sections", Encoded::i32s(&[11, 11, 10, 0]));
    }
    // One family reads the first, the other the second.
    add("attention.layer_norm_rms_epsilon", Encoded::f32(epsilon as f32));
    add("attention.layer_norm_epsilon", Encoded::f32(epsilon as f32));
    if s.rope_base > 0.0 {
        add("rope.freq_base", Encoded::f32(s.rope_base as f32));
    }
    if arch == "granite" {
        add("logit_scale", Encoded::f32(1.0));
    }
}

/// llama.cpp's number for routers that score by a sigmoid.
const SIGMOID: u32 = 2;

/// Values of a head that positions rotate.
fn rotated(s: &Shape) -> u32 {
    match s.kv_lora {
        0 if has_delta_nets(s) => s.head_width() / 4,
        0 => s.full_head_width(),
        _ => s.rope_dim,
    }
}

/// One number where all layers have the same.
fn per_layer(values: impl Iterator<Item = u32>) -> Encoded {
    let values: Vec<u32> = values.collect();
    match values.first() {
        Some(&first) if values.iter().all(|&v| v == first) => Encoded::u32(first),
        _ => Encoded::i32s(&values.iter().map(|&v| v as i32).collect::<Vec<_>>()),
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
