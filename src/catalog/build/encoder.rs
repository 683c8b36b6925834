//! Encoders and encoder-decoders: BERT and Nomic-BERT, CLIP towers, Whisper.

use super::{Tensors, layer, times};
use crate::catalog::entry::Shape;
use crate::model::Attention;

type Build = fn(&Shape, &mut Tensors);

pub(super) fn builder(architecture: &str) -> Option<Build> {
    match architecture {
        "bert" => Some(bert),
        "nomic-bert" => Some(nomic_bert),
        "clip" | "siglip" => Some(clip),
        "vit" => Some(vit),
        "whisper" => Some(whisper),
        _ => None,
    }
}

/// The stacks' layers; `None` for an architecture of the other builder.
pub(super) fn layers(s: &Shape) -> Option<Vec<Attention>> {
    builder(&s.architecture)?;
    let encoder = |n: u32, heads: u32, hidden: u32| {
        let head_dim = hidden.checked_div(heads).unwrap_or(0);
        std::iter::repeat_n(Attention::Encoder { heads, head_dim }, n as usize)
    };
    let first = encoder(s.layers, s.heads, s.hidden);
    Some(match s.architecture.as_str() {
        "whisper" => {
            let dim = s.head_width();
            let decoder = Attention::Gqa {
                heads: s.heads,
                kv_heads: s.heads,
                key_dim: dim,
                value_dim: dim,
                window: None,
                shared: false,
            };
            first.chain(std::iter::repeat_n(decoder, s.layers_2 as usize)).collect()
        }
        _ => first.chain(encoder(s.layers_2, s.heads_2, s.hidden_2)).collect(),
    })
}

fn bert(s: &Shape, t: &mut Tensors) {
    t.add("token_embd.weight", &[s.hidden, s.vocabulary]);
    t.add("position_embd.weight", &[s.hidden, s.positions]);
    t.add("token_types.weight", &[s.hidden, s.token_types]);
    t.norm("token_embd_norm", s.hidden, true);
    for n in 0..s.layers {
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            t.linear(&layer(n, part), s.hidden, s.hidden, true);
        }
        t.norm(&layer(n, "attn_output_norm"), s.hidden, true);
        t.linear(&layer(n, "ffn_up"), s.hidden, s.ffn, true);
        t.linear(&layer(n, "ffn_down"), s.ffn, s.hidden, true);
        t.norm(&layer(n, "layer_output_norm"), s.hidden, true);
    }
}

fn nomic_bert(s: &Shape, t: &mut Tensors) {
    t.add("token_embd.weight", &[s.hidden, s.vocabulary]);
    t.add("token_types.weight", &[s.hidden, s.token_types]);
    t.norm("token_embd_norm", s.hidden, true);
    for n in 0..s.layers {
        t.linear(&layer(n, "attn_qkv"), s.hidden, times(s.hidden, 3), false);
        t.linear(&layer(n, "attn_output"), s.hidden, s.hidden, false);
        t.norm(&layer(n, "attn_output_norm"), s.hidden, true);
        t.linear(&layer(n, "ffn_gate"), s.hidden, s.ffn, false);
        t.linear(&layer(n, "ffn_up"), s.hidden, s.ffn, false);
        t.linear(&layer(n, "ffn_down"), s.ffn, s.hidden, false);
        t.norm(&layer(n, "layer_output_norm"), s.hidden, true);
    }
}

/// A pre-norm transformer block with biases everywhere.
fn block(prefix: &str, n: u32, width: u32, ffn: u32, t: &mut Tensors) {
    let name = |part: &str| format!("{prefix}.blk.{n}.{part}");
    t.norm(&name("ln1"), width, true);
    for part in ["attn_q", "attn_k", "attn_v", "attn_out"] {
        t.linear(&name(part), width, width, true);
    }
    t.norm(&name("ln2"), width, true);
    t.linear(&name("ffn_up"), width, ffn, true);
    t.linear(&name("ffn_down"), ffn, width, true);
}

fn patches(s: &Shape) -> u32 {
    let side = s.image.checked_div(s.patch).unwrap_or(0);
    times(side, side)
}

/// Vision tower first, text tower second.
fn clip(s: &Shape, t: &mut Tensors) {
    let siglip = s.architecture == "siglip";
    t.add("v.patch_embd.weight", &[s.patch, s.patch, 3, s.hidden]);
    if siglip {
        t.add("v.patch_embd.bias", &[s.hidden]);
        t.add("v.position_embd.weight", &[s.hidden, patches(s)]);
    } else {
        t.add("v.class_embd", &[s.hidden]);
        t.add("v.position_embd.weight", &[s.hidden, patches(s) + 1]);
        t.norm("v.pre_ln", s.hidden, true);
    }
    for n in 0..s.layers {
        block("v", n, s.hidden, s.ffn, t);
    }
    t.norm("v.post_ln", s.hidden, true);
    t.add("t.token_embd.weight", &[s.hidden_2, s.vocabulary]);
    t.add("t.position_embd.weight", &[s.hidden_2, s.positions]);
    for n in 0..s.layers_2 {
        block("t", n, s.hidden_2, s.ffn_2, t);
    }
    t.norm("t.post_ln", s.hidden_2, true);
    if siglip {
        // Attention pooling over patches, and a linear head on the text side.
        t.add("v.head.probe", &[s.hidden]);
        t.linear("v.head.attn_in", s.hidden, times(s.hidden, 3), true);
        t.linear("v.head.attn_out", s.hidden, s.hidden, true);
        t.norm("v.head.ln", s.hidden, true);
        t.linear("v.head.ffn_up", s.hidden, s.ffn, true);
        t.linear("v.head.ffn_down", s.ffn, s.hidden, true);
        t.linear("t.head", s.hidden_2, s.hidden_2, true);
        t.add("logit_scale", &[1]);
        t.add("logit_bias", &[1]);
    } else {
        t.linear("v.projection", s.hidden, s.projection, false);
        t.linear("t.projection", s.hidden_2, s.projection, false);
        t.add("logit_scale", &[1]);
    }
}

/// Image classifier with a class token; `projection` is the number of classes.
fn vit(s: &Shape, t: &mut Tensors) {
    t.add("v.patch_embd.weight", &[s.patch, s.patch, 3, s.hidden]);
    t.add("v.patch_embd.bias", &[s.hidden]);
    t.add("v.class_embd", &[s.hidden]);
    t.add("v.position_embd.weight", &[s.hidden, patches(s) + 1]);
    for n in 0..s.layers {
        block("v", n, s.hidden, s.ffn, t);
    }
    t.norm("v.post_ln", s.hidden, true);
    t.linear("v.classifier", s.hidden, s.projection, true);
}

fn whisper(s: &Shape, t: &mut Tensors) {
    let attention = |t: &mut Tensors, name: String| {
        t.linear(&format!("{name}.q"), s.hidden, s.hidden, true);
        // Whisper's key projection has no bias.
        t.linear(&format!("{name}.k"), s.hidden, s.hidden, false);
        t.linear(&format!("{name}.v"), s.hidden, s.hidden, true);
        t.linear(&format!("{name}.out"), s.hidden, s.hidden, true);
        t.norm(&format!("{name}_ln"), s.hidden, true);
    };
    let mlp = |t: &mut Tensors, name: String| {
        t.linear(&format!("{name}.ffn_up"), s.hidden, s.ffn, true);
        t.linear(&format!("{name}.ffn_down"), s.ffn, s.hidden, true);
        t.norm(&format!("{name}.ffn_ln"), s.hidden, true);
    };
    t.add("encoder.conv1.weight", &[3, s.mels, s.hidden]);
    t.add("encoder.conv1.bias", &[s.hidden]);
    t.add("encoder.conv2.weight", &[3, s.hidden, s.hidden]);
    t.add("encoder.conv2.bias", &[s.hidden]);
    // 30 s of audio: 1500 frames after the strided convolution.
    t.add("encoder.position_embd", &[s.hidden, 1500]);
    for n in 0..s.layers {
        attention(t, format!("encoder.{n}.attn"));
        mlp(t, format!("encoder.{n}"));
    }
    t.norm("encoder.ln_post", s.hidden, true);
    t.add("token_embd.weight", &[s.hidden, s.vocabulary]);
    t.add("position_embd.weight", &[s.hidden, s.positions]);
    for n in 0..s.layers_2 {
        attention(t, format!("decoder.{n}.attn"));
        attention(t, format!("decoder.{n}.cross_attn"));
        mlp(t, format!("decoder.{n}"));
    }
    t.norm("decoder.ln", s.hidden, true);
}
