//! `models inspect --plan`: where the memory goes at a context length.

use std::fmt::Write;

use clap::Args;

use super::size;
use crate::cli::{CliResult, Format, Output, exit};
use crate::model::{ModelSpec, Precision};
use crate::predict::{KvPrecision, MemoryPlan, PlanFor, memory_plan};
use crate::probe::{self, LiveHost, ProbeOptions};

/// What to plan for.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Plan the memory: weights, KV cache by layer kind, compute buffers, runtime.
    #[arg(long)]
    plan: bool,
    /// Context length in tokens.
    #[arg(long, default_value_t = 4096, requires = "plan")]
    context: u64,
    /// Plan for this precision instead of the one stored.
    #[arg(long, requires = "plan")]
    precision: Option<Precision>,
    /// Precision of the KV cache: f32, f16, q8_0, q5_1, q5_0, q4_1, q4_0.
    #[arg(long, default_value = "f16", requires = "plan")]
    kv: KvPrecision,
    /// Backend whose buffers to count.
    #[arg(long, default_value = "llama.cpp", requires = "plan")]
    backend: String,
}

/// Prints the plan where it is asked for; `None` where it is not.
pub(super) fn run(args: &PlanArgs, spec: &ModelSpec, output: &Output) -> Option<CliResult> {
    if !args.plan {
        return None;
    }
    // A catalogue entry has shapes only: its plan needs a precision.
    let stored = spec.stored_bytes() > 0;
    let precision = args.precision.or((!stored).then_some(Precision::F16));
    let here = probe::run(&LiveHost::new(), ProbeOptions::default()).device();
    let plan = memory_plan(
        spec,
        &PlanFor {
            precision,
            context: args.context,
            kv: args.kv,
            backend: &args.backend,
            cpu_isa: &here.cpu.isa,
        },
    );
    let printed = match output.format {
        Format::Json => output.json(&serde_json::json!({
            "model": spec.name, "precision": precision, "context": args.context,
            "kv": args.kv.name(), "backend": args.backend, "plan": plan,
        })),
        _ => output.data(&text(args, spec, precision, &plan)),
    };
    Some(printed.map(|()| exit::OK))
}

fn text(
    args: &PlanArgs,
    spec: &ModelSpec,
    precision: Option<Precision>,
    plan: &MemoryPlan,
) -> String {
    let name: String = spec.name.chars().filter(|c| !c.is_control()).take(40).collect();
    let width = precision.map_or("as stored".to_owned(), |p| p.to_string());
    let mut out = format!(
        "{name}\n{width}, {} tokens of context, KV {}, {}\n\n",
        args.context,
        args.kv.name(),
        args.backend
    );
    let mut row = |label: &str, bytes: u64| {
        let _ = writeln!(out, "{label:<44}{:>12}", size(bytes));
    };
    row("weights", plan.weights);
    for r in &plan.roles {
        row(&format!("  {:?}", r.role).to_lowercase(), r.bytes);
    }
    row("KV cache", plan.kv_cache);
    for g in &plan.kv_groups {
        row(&format!("  {} x {}, {} positions", g.layers, g.kind, g.positions), g.bytes);
    }
    row("compute buffers (estimate)", plan.compute);
    row("runtime (estimate)", plan.runtime);
    row("total", plan.total);
    if plan.repacked > 0 {
        row("cached copy of rearranged weights, on top", plan.repacked);
    }
    row("weights read for one decoded token", plan.weights_per_token);
    out
}
