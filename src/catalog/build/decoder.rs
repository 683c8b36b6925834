//! Decoder stacks: attention of every kind, dense and expert feed-forward, state-space mixers.

use super::traits::{QkNorm, Traits};
use super::{Tensors, layer, shape_head_widths, times};
use crate::catalog::entry::Shape;
use crate::formats::gguf::layer_windows;
use crate::model::Attention;

pub(super) fn build(s: &Shape, a: &Traits, t: &mut Tensors) {
    t.add("token_embd.weight", &[s.hidden, s.vocabulary]);
    t.norm(a.output_norm, s.hidden, false);
    if !s.tied && s.vocabulary > 0 && s.architecture != "gemma-embedding" {
        t.add("output.weight", &[s.hidden, s.vocabulary]);
    }
    for n in 0..s.layers {
        mixer(s, a, n, t);
        feed_forward(s, a, n, t);
        if s.architecture == "gemma3n" {
            gemma3n_layer(s, n, t);
        }
    }
    match s.architecture.as_str() {
        "gemma3n" => gemma3n_globals(s, t),
        "gemma-embedding" => {
            // Two dense layers on the pooled output: width x 4 and back.
            t.add("dense_2.weight", &[s.hidden, times(s.hidden, 4)]);
            t.add("dense_3.weight", &[times(s.hidden, 4), s.hidden]);
        }
        _ => {}
    }
}

/// How each layer keeps its context.
pub(super) fn layers(s: &Shape, a: &Traits) -> Vec<Attention> {
    let window = (s.window > 0).then_some(s.window);
    let windows = layer_windows(&s.architecture, window, u64::from(s.layers));
    let dim = s.head_width();
    let (heads, kv_heads) = (s.heads, s.kv_heads);
    let state_elements = state_elements(s);
    (0..s.layers)
        .map(|n| {
            if a.parallel {
                Attention::Parallel {
                    heads,
                    kv_heads,
                    key_dim: dim,
                    value_dim: dim,
                    state_elements,
                }
            } else if !attends(s, n) {
                Attention::Recurrent { state_elements }
            } else if a.encoder {
                Attention::Encoder { heads, head_dim: dim }
            } else if s.kv_lora > 0 {
                Attention::Mla { heads, kv_lora_rank: s.kv_lora, rope_dim: s.rope_dim }
            } else {
                let window = windows.get(n as usize).copied().flatten();
                let shared = s.architecture == "gemma3n" && n >= GEMMA3N_OWN_CACHE;
                Attention::Gqa { heads, kv_heads, key_dim: dim, value_dim: dim, window, shared }
            }
        })
        .collect()
}

/// Layers from this one on reuse an earlier layer's cache (llama.cpp, `gemma3n`).
const GEMMA3N_OWN_CACHE: u32 = 20;

fn attends(s: &Shape, n: u32) -> bool {
    s.attention_layers.is_empty() || s.attention_layers.contains(&n)
}

/// As [`crate::formats::gguf::to_spec`] computes it from a file.
fn state_elements(s: &Shape) -> u64 {
    if s.conv_taps > 0 {
        return u64::from(s.hidden) * u64::from(s.conv_taps - 1);
    }
    let (inner, state) = (u64::from(s.ssm_inner), u64::from(s.ssm_state));
    let channels = inner + 2 * u64::from(s.ssm_groups) * state;
    u64::from(s.ssm_conv.saturating_sub(1)) * channels + state * inner
}

fn mixer(s: &Shape, a: &Traits, n: u32, t: &mut Tensors) {
    if a.attn_norm {
        t.norm(&layer(n, "attn_norm"), s.hidden, false);
    }
    if !attends(s, n) && s.conv_taps > 0 {
        t.add(layer(n, "shortconv.conv.weight"), &[s.conv_taps, s.hidden]);
        t.linear(&layer(n, "shortconv.in_proj"), s.hidden, times(s.hidden, 3), false);
        t.linear(&layer(n, "shortconv.out_proj"), s.hidden, s.hidden, false);
        return;
    }
    if a.parallel || !attends(s, n) {
        state_space(s, a, n, t);
    }
    if !attends(s, n) {
        return;
    }
    match s.kv_lora {
        0 => attention(s, a, n, t),
        _ => latent_attention(s, n, t),
    }
    if a.post_attention_norm {
        t.norm(&layer(n, "post_attention_norm"), s.hidden, false);
    }
}

fn attention(s: &Shape, a: &Traits, n: u32, t: &mut Tensors) {
    let (dim, q, kv) = shape_head_widths(s);
    if a.fused_qkv {
        t.linear(&layer(n, "attn_qkv"), s.hidden, q + 2 * kv, a.qkv_bias);
    } else {
        t.linear(&layer(n, "attn_q"), s.hidden, q, a.qkv_bias);
        t.linear(&layer(n, "attn_k"), s.hidden, kv, a.qkv_bias);
        t.linear(&layer(n, "attn_v"), s.hidden, kv, a.qkv_bias);
    }
    t.linear(&layer(n, "attn_output"), q, s.hidden, a.output_bias);
    let norms = match a.qk_norm {
        QkNorm::None => None,
        QkNorm::Head => Some((dim, dim)),
        QkNorm::Full => Some((q, kv)),
    };
    if let Some((q, k)) = norms {
        t.norm(&layer(n, "attn_q_norm"), q, false);
        t.norm(&layer(n, "attn_k_norm"), k, false);
    }
    if a.sinks {
        t.add(layer(n, "attn_sinks.weight"), &[s.heads]);
    }
}

fn latent_attention(s: &Shape, n: u32, t: &mut Tensors) {
    let query = times(s.heads, s.nope_dim + s.rope_dim);
    if s.q_lora > 0 {
        t.linear(&layer(n, "attn_q_a"), s.hidden, s.q_lora, false);
        t.norm(&layer(n, "attn_q_a_norm"), s.q_lora, false);
        t.linear(&layer(n, "attn_q_b"), s.q_lora, query, false);
    } else {
        t.linear(&layer(n, "attn_q"), s.hidden, query, false);
    }
    t.linear(&layer(n, "attn_kv_a_mqa"), s.hidden, s.kv_lora + s.rope_dim, false);
    t.norm(&layer(n, "attn_kv_a_norm"), s.kv_lora, false);
    t.add(layer(n, "attn_k_b.weight"), &[s.nope_dim, s.kv_lora, s.heads]);
    t.add(layer(n, "attn_v_b.weight"), &[s.kv_lora, s.value_dim, s.heads]);
    t.linear(&layer(n, "attn_output"), times(s.heads, s.value_dim), s.hidden, false);
}

fn state_space(s: &Shape, a: &Traits, n: u32, t: &mut Tensors) {
    let channels = s.ssm_inner + 2 * times(s.ssm_groups, s.ssm_state);
    t.linear(&layer(n, "ssm_in"), s.hidden, s.ssm_inner + channels + s.ssm_heads, false);
    t.add(layer(n, "ssm_conv1d.weight"), &[s.ssm_conv, channels]);
    t.add(layer(n, "ssm_conv1d.bias"), &[channels]);
    t.add(layer(n, "ssm_dt.bias"), &[s.ssm_heads]);
    t.add(layer(n, "ssm_a"), &[1, s.ssm_heads]);
    t.add(layer(n, "ssm_d"), &[1, s.ssm_heads]);
    if a.ssm_norm {
        let groups = s.ssm_groups.max(1);
        t.add(layer(n, "ssm_norm.weight"), &[s.ssm_inner / groups, groups]);
    }
    t.linear(&layer(n, "ssm_out"), s.ssm_inner, s.hidden, false);
}

fn feed_forward(s: &Shape, a: &Traits, n: u32, t: &mut Tensors) {
    if a.ffn_norm {
        t.norm(&layer(n, "ffn_norm"), s.hidden, false);
    }
    if s.experts > 0 && n >= s.dense_layers {
        experts(s, a, n, t);
    } else if a.fused_gate {
        t.linear(&layer(n, "ffn_up"), s.hidden, times(s.ffn, 2), false);
        t.linear(&layer(n, "ffn_down"), s.ffn, s.hidden, false);
    } else {
        gated(s, n, "", s.ffn, t);
    }
    if a.post_ffn_norm {
        t.norm(&layer(n, "post_ffw_norm"), s.hidden, false);
    }
}

fn gated(s: &Shape, n: u32, suffix: &str, width: u32, t: &mut Tensors) {
    t.linear(&layer(n, &format!("ffn_gate{suffix}")), s.hidden, width, false);
    t.linear(&layer(n, &format!("ffn_up{suffix}")), s.hidden, width, false);
    t.linear(&layer(n, &format!("ffn_down{suffix}")), width, s.hidden, false);
}

fn experts(s: &Shape, a: &Traits, n: u32, t: &mut Tensors) {
    t.linear(&layer(n, "ffn_gate_inp"), s.hidden, s.experts, a.expert_bias);
    if s.router_bias {
        t.add(layer(n, "exp_probs_b.bias"), &[s.experts]);
    }
    for (name, input, output) in [
        ("ffn_gate_exps", s.hidden, s.expert_ffn),
        ("ffn_up_exps", s.hidden, s.expert_ffn),
        ("ffn_down_exps", s.expert_ffn, s.hidden),
    ] {
        t.add(layer(n, &format!("{name}.weight")), &[input, output, s.experts]);
        if a.expert_bias {
            t.add(layer(n, &format!("{name}.bias")), &[output, s.experts]);
        }
    }
    if s.shared_ffn > 0 {
        gated(s, n, "_shexp", s.shared_ffn, t);
        if a.shared_gate {
            t.add(layer(n, "ffn_gate_inp_shexp.weight"), &[s.hidden]);
        }
    }
}

// Gemma 3n: widths of its per-layer embeddings, AltUp streams and LAuReL ranks (`gemma3n.cpp`).
const PER_LAYER: u32 = 256;
const ALTUP: u32 = 4;
const LAUREL: u32 = 64;

fn gemma3n_globals(s: &Shape, t: &mut Tensors) {
    let all = times(PER_LAYER, s.layers);
    t.add("per_layer_token_embd.weight", &[all, s.vocabulary]);
    t.linear("per_layer_model_proj", s.hidden, all, false);
    t.norm("per_layer_proj_norm", PER_LAYER, false);
    t.add("altup_proj.weight", &[s.hidden, s.hidden, ALTUP - 1]);
    t.add("altup_unembd_proj.weight", &[s.hidden, s.hidden, ALTUP - 1]);
}

fn gemma3n_layer(s: &Shape, n: u32, t: &mut Tensors) {
    t.linear(&layer(n, "inp_gate"), s.hidden, PER_LAYER, false);
    t.linear(&layer(n, "proj"), PER_LAYER, s.hidden, false);
    t.norm(&layer(n, "post_norm"), s.hidden, false);
    t.add(layer(n, "altup_correct_coef.weight"), &[ALTUP, ALTUP]);
    t.add(layer(n, "altup_correct_scale.weight"), &[s.hidden]);
    t.add(layer(n, "altup_predict_coef.weight"), &[ALTUP, ALTUP * ALTUP]);
    t.linear(&layer(n, "altup_router"), s.hidden, ALTUP, false);
    t.norm(&layer(n, "altup_router_norm"), s.hidden, false);
    t.linear(&layer(n, "laurel_l"), s.hidden, LAUREL, false);
    t.linear(&layer(n, "laurel_r"), LAUREL, s.hidden, false);
    t.norm(&layer(n, "laurel_post_norm"), s.hidden, false);
}
