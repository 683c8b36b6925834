//! Decoder stacks: attention of every kind, dense and expert feed-forward, state-space mixers.

use super::traits::{Delta, QkNorm, Traits};
use super::{Tensors, layer, times};
use crate::catalog::entry::Shape;
use crate::formats::gguf::layer_window;
use crate::model::Attention;

pub(super) fn build(s: &Shape, a: &Traits, t: &mut Tensors) {
    t.add("token_embd.weight", &[s.hidden, s.vocabulary]);
    t.norm(a.output_norm, s.hidden, false);
    if !s.tied && s.vocabulary > 0 && s.architecture != "gemma-embedding" {
        t.add("output.weight", &[s.hidden, s.vocabulary]);
    }
    if s.per_layer > 0 {
        let all = times(s.per_layer, s.layers);
        t.add("per_layer_token_embd.weight", &[all, s.vocabulary]);
        t.linear("per_layer_model_proj", s.hidden, all, false);
        t.norm("per_layer_proj_norm", s.per_layer, false);
    }
    for n in 0..s.layers {
        mixer(s, a, n, t);
        feed_forward(s, a, n, t);
        if s.per_layer > 0 {
            t.linear(&layer(n, "inp_gate"), s.hidden, s.per_layer, false);
            t.linear(&layer(n, "proj"), s.per_layer, s.hidden, false);
            t.norm(&layer(n, "post_norm"), s.hidden, false);
        }
        match s.architecture.as_str() {
            "gemma3n" => gemma3n_layer(s, n, t),
            "gemma4" => t.add(layer(n, "layer_output_scale.weight"), &[1]),
            _ => {}
        }
    }
    match s.architecture.as_str() {
        "gemma3n" => {
            t.add("altup_proj.weight", &[s.hidden, s.hidden, ALTUP - 1]);
            t.add("altup_unembd_proj.weight", &[s.hidden, s.hidden, ALTUP - 1]);
        }
        // Shared by the layers that attend in full.
        "gemma4" => t.add("rope_freqs.weight", &[s.full_head_dim / 2]),
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
    let state_elements = state_elements(s);
    let heads = s.heads;
    (0..s.layers)
        .map(|n| {
            let (dim, kv_heads, window) = head(s, n);
            if a.parallel {
                let (key_dim, value_dim) = (dim, dim);
                Attention::Parallel { heads, kv_heads, key_dim, value_dim, state_elements }
            } else if s.ffn_layers.contains(&n) {
                Attention::None
            } else if !attends(s, n) {
                Attention::Recurrent { state_elements }
            } else if a.encoder {
                Attention::Encoder { heads, head_dim: dim }
            } else if s.kv_lora > 0 {
                Attention::Mla { heads, kv_lora_rank: s.kv_lora, rope_dim: s.rope_dim }
            } else {
                let shared = shares_cache(s, n);
                Attention::Gqa { heads, kv_heads, key_dim: dim, value_dim: dim, window, shared }
            }
        })
        .collect()
}

/// Width of a head, key-value heads and window of a layer.
fn head(s: &Shape, n: u32) -> (u32, u32, Option<u32>) {
    let window = (s.window > 0).then_some(s.window);
    let window = match s.window_period {
        0 => layer_window(&s.architecture, window, u64::from(n)),
        period => window.filter(|_| !(n + 1).is_multiple_of(period)),
    };
    let full = |wide: u32, windowed| if wide > 0 && window.is_none() { wide } else { windowed };
    (full(s.full_head_width(), s.head_width()), full(s.full_kv_heads, s.kv_heads), window)
}

fn shares_cache(s: &Shape, n: u32) -> bool {
    n >= s.layers - s.shared_kv_layers.min(s.layers)
}

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
    if s.ffn_layers.contains(&n) {
        return;
    }
    match (attends(s, n), a.delta) {
        (false, _) if s.conv_taps > 0 => short_convolution(s, n, t),
        (false, Some(delta)) => delta_net(s, delta, n, t),
        (false, None) => state_space(s, a, n, t),
        (true, _) if s.kv_lora > 0 => latent_attention(s, n, t),
        (true, _) => {
            if a.parallel {
                state_space(s, a, n, t);
            }
            attention(s, a, n, t);
        }
    }
    if a.post_attention_norm {
        t.norm(&layer(n, "post_attention_norm"), s.hidden, false);
    }
}

fn attention(s: &Shape, a: &Traits, n: u32, t: &mut Tensors) {
    let (dim, kv_heads, window) = head(s, n);
    let (q, kv) = (times(s.heads, dim), times(kv_heads, dim));
    if a.fused_qkv {
        t.linear(&layer(n, "attn_qkv"), s.hidden, q + 2 * kv, a.qkv_bias);
    } else {
        let gates = if a.gated_query { q } else { 0 };
        t.linear(&layer(n, "attn_q"), s.hidden, q.saturating_add(gates), a.qkv_bias);
        t.linear(&layer(n, "attn_k"), s.hidden, kv, a.qkv_bias);
        if !s.keys_as_values || window.is_some() {
            t.linear(&layer(n, "attn_v"), s.hidden, kv, a.qkv_bias);
        }
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

fn short_convolution(s: &Shape, n: u32, t: &mut Tensors) {
    t.add(layer(n, "shortconv.conv.weight"), &[s.conv_taps, s.hidden]);
    t.linear(&layer(n, "shortconv.in_proj"), s.hidden, times(s.hidden, 3), false);
    t.linear(&layer(n, "shortconv.out_proj"), s.hidden, s.hidden, false);
}

/// What the short convolution of a state-space mixer runs over.
fn channels(s: &Shape) -> u32 {
    s.ssm_inner + 2 * times(s.ssm_groups, s.ssm_state)
}

/// Groups are key heads, `ssm_heads` value heads; all are as wide as the state.
fn delta_net(s: &Shape, delta: Delta, n: u32, t: &mut Tensors) {
    let channels = channels(s);
    t.linear(&layer(n, "attn_qkv"), s.hidden, channels, false);
    t.linear(&layer(n, "attn_gate"), s.hidden, s.ssm_inner, false);
    t.add(layer(n, "ssm_conv1d.weight"), &[s.ssm_conv, channels]);
    t.add(layer(n, "ssm_dt.bias"), &[s.ssm_heads]);
    t.add(layer(n, "ssm_a"), &[s.ssm_heads]);
    match delta {
        Delta::Joined => t.linear(&layer(n, "ssm_ba"), s.hidden, times(s.ssm_heads, 2), false),
        Delta::Apart => {
            t.linear(&layer(n, "ssm_beta"), s.hidden, s.ssm_heads, false);
            t.linear(&layer(n, "ssm_alpha"), s.hidden, s.ssm_heads, false);
        }
    }
    t.norm(&layer(n, "ssm_norm"), s.ssm_state, false);
    t.linear(&layer(n, "ssm_out"), s.ssm_inner, s.hidden, false);
}

fn state_space(s: &Shape, a: &Traits, n: u32, t: &mut Tensors) {
    let channels = channels(s);
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

/// Width of a layer's feed-forward network, an expert's where it has no other; 0 where it has none.
pub(in crate::catalog) fn ffn_width(s: &Shape, n: u32) -> u32 {
    match s.ffn {
        _ if !s.ffn_layers.is_empty() && !s.ffn_layers.contains(&n) => 0,
        0 => s.expert_ffn,
        width if s.wide_shared && shares_cache(s, n) => times(width, 2),
        width => width,
    }
}

fn feed_forward(s: &Shape, a: &Traits, n: u32, t: &mut Tensors) {
    let width = ffn_width(s, n);
    if width == 0 {
        return;
    }
    if a.ffn_norm {
        t.norm(&layer(n, "ffn_norm"), s.hidden, false);
    }
    // Gemma 4's experts stand beside the dense network.
    let both = s.architecture == "gemma4";
    let routed = s.experts > 0 && n >= s.dense_layers;
    if !routed || both {
        dense(s, a, n, "", width, t);
    }
    if routed {
        experts(s, a, n, t);
    }
    if routed && both {
        t.add(layer(n, "ffn_gate_inp.scale"), &[s.hidden]);
        t.add(layer(n, "ffn_down_exps.scale"), &[s.experts]);
        for norm in ["pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"] {
            t.norm(&layer(n, norm), s.hidden, false);
        }
    }
    if a.post_ffn_norm {
        t.norm(&layer(n, "post_ffw_norm"), s.hidden, false);
    }
}

fn dense(s: &Shape, a: &Traits, n: u32, suffix: &str, width: u32, t: &mut Tensors) {
    let up = if a.fused_gate { times(width, 2) } else { width };
    if !a.fused_gate && !a.no_gate {
        t.linear(&layer(n, &format!("ffn_gate{suffix}")), s.hidden, width, false);
    }
    t.linear(&layer(n, &format!("ffn_up{suffix}")), s.hidden, up, false);
    t.linear(&layer(n, &format!("ffn_down{suffix}")), width, s.hidden, false);
}

fn experts(s: &Shape, a: &Traits, n: u32, t: &mut Tensors) {
    t.linear(&layer(n, "ffn_gate_inp"), s.hidden, s.experts, a.expert_bias);
    if s.router_bias {
        t.add(layer(n, "exp_probs_b.bias"), &[s.experts]);
    }
    let (gate, up) = match (a.fused_experts, a.no_gate) {
        (true, _) => (None, ("ffn_gate_up_exps", times(s.expert_ffn, 2))),
        (_, true) => (None, ("ffn_up_exps", s.expert_ffn)),
        _ => (Some(("ffn_gate_exps", s.expert_ffn)), ("ffn_up_exps", s.expert_ffn)),
    };
    let ups = gate.into_iter().chain([up]).map(|(name, width)| (name, s.hidden, width));
    for (name, input, output) in ups.chain([("ffn_down_exps", s.expert_ffn, s.hidden)]) {
        t.add(layer(n, &format!("{name}.weight")), &[input, output, s.experts]);
        if a.expert_bias {
            t.add(layer(n, &format!("{name}.bias")), &[output, s.experts]);
        }
    }
    if s.shared_ffn > 0 {
        dense(s, a, n, "_shexp", s.shared_ffn, t);
        if a.shared_gate {
            t.add(layer(n, "ffn_gate_inp_shexp.weight"), &[s.hidden]);
        }
    }
}

// Gemma 3n: its AltUp streams and LAuReL ranks (`gemma3n.cpp`).
const ALTUP: u32 = 4;
const LAUREL: u32 = 64;

fn gemma3n_layer(s: &Shape, n: u32, t: &mut Tensors) {
    t.add(layer(n, "altup_correct_coef.weight"), &[ALTUP, ALTUP]);
    t.add(layer(n, "altup_correct_scale.weight"), &[s.hidden]);
    t.add(layer(n, "altup_predict_coef.weight"), &[ALTUP, ALTUP * ALTUP]);
    t.linear(&layer(n, "altup_router"), s.hidden, ALTUP, false);
    t.norm(&layer(n, "altup_router_norm"), s.hidden, false);
    t.linear(&layer(n, "laurel_l"), s.hidden, LAUREL, false);
    t.linear(&layer(n, "laurel_r"), LAUREL, s.hidden, false);
    t.norm(&layer(n, "laurel_post_norm"), s.hidden, false);
}
