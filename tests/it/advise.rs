//! The decision engine on real profiles: golden cases, evidence, constraints, the tree's document.

use std::collections::BTreeMap;
use std::path::Path;

use edge_advisor::advise::{
    self, Candidate, Evidence, Frameworks, Input, Measured, ModelSource, Objective, QualityTable,
    Recommendation, Request, Rules, States,
};
use edge_advisor::catalog::{self, Catalog};
use edge_advisor::model::{ComputeApi, Device, ModelSpec, Precision};
use edge_advisor::predict::{Estimate, Predictor, Rung};
use edge_advisor::profile::{Library, Overrides};
use edge_advisor::record::RunRecord;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Case {
    device: String,
    ram: Option<f64>,
    bandwidth: Option<f64>,
    model: String,
    context: Option<u64>,
    objective: Option<Objective>,
    min_decode_tok_s: Option<f64>,
    platform: Option<String>,
    licence: Option<String>,
    low_power: bool,
    fits: Option<bool>,
    by: Vec<String>,
    framework: Vec<String>,
    place: String,
    api: Vec<String>,
    precision: Vec<Precision>,
    why: String,
}

fn device(id: &str, ram: Option<f64>, bandwidth: Option<f64>) -> Device {
    let overrides = Overrides { ram_gib: ram, bandwidth_gbs: bandwidth, os: None };
    Library::default().load(id).unwrap().device(&overrides)
}

fn model(name: &str) -> ModelSpec {
    let catalog = Catalog::load_with(None).unwrap();
    ModelSpec { name: name.to_owned(), ..catalog::build(catalog.get(name).unwrap()) }
}

fn decide(
    device: &Device,
    model: &ModelSpec,
    request: &Request,
    evidence: &Evidence,
) -> Recommendation {
    let predictor = Predictor::embedded();
    let states = States::default();
    advise::advise(&Input {
        device,
        device_is_here: false,
        model,
        source: &ModelSource::Hub { original: None, gguf: Vec::new() },
        request,
        frameworks: Frameworks::embedded(),
        rules: Rules::embedded(),
        states: &states,
        quality: QualityTable::embedded(),
        evidence,
        predictor: &predictor,
    })
    .unwrap()
}

fn check(case: &Case) -> Result<(), String> {
    let mut request = Request {
        objective: case.objective.unwrap_or_default(),
        min_decode_tok_s: case.min_decode_tok_s,
        platform: case.platform.clone(),
        open_licence: case.licence.as_deref() == Some("open"),
        low_power: case.low_power,
        ..Request::default()
    };
    let model = model(&case.model);
    request.context = case.context.unwrap_or(4096);
    if model.context_length > 0 {
        request.context = request.context.min(model.context_length);
    }
    let d = device(&case.device, case.ram, case.bandwidth);
    let r = decide(&d, &model, &request, &Evidence::default());
    let Some(pick) = &r.pick else {
        if case.fits != Some(false) {
            return Err(format!(
                "nothing fits; closest {:?}",
                r.closest.map(|c| c.0.candidate.rejections)
            ));
        }
        let why: Vec<String> = r
            .closest
            .iter()
            .flat_map(|(c, _)| c.candidate.rejections.iter().map(|x| x.by.clone()))
            .collect();
        let named = case.by.is_empty() || why.iter().any(|w| case.by.contains(w));
        return if named { Ok(()) } else { Err(format!("closest fails by {why:?}")) };
    };
    let c = &pick.candidate;
    if case.fits == Some(false) {
        return Err(format!("nothing may fit, got {}", c.label()));
    }
    let api = serde_json::to_value(c.api).unwrap().as_str().unwrap().to_owned();
    let good = case.framework.contains(&c.framework)
        && c.place().starts_with(&case.place)
        && (case.api.is_empty() || case.api.contains(&api))
        && (case.precision.is_empty() || case.precision.contains(&c.precision));
    if good { Ok(()) } else { Err(format!("got {} ({api})", c.label())) }
}

#[test]
fn an_expert_agrees_with_the_golden_decisions() {
    let text = include_str!("../fixtures/advise/golden.toml");
    let cases: BTreeMap<String, Vec<Case>> = toml::from_str(text).unwrap();
    let cases = &cases["case"];
    assert!(cases.len() >= 30);
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|c| {
            let e = check(c).err()?;
            Some(format!("{} + {}: {e}; expected because {}", c.device, c.model, c.why))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn here(v: f64) -> Option<Estimate> {
    let (low, high) = (v * 0.97, v * 1.03);
    Some(Estimate { value: v, low, high, rung: Rung::MeasuredHere, basis: "test".into() })
}

fn measured(backend: &str, precision: Precision, decode: f64) -> Measured {
    Measured {
        model: "llama-3.2-1b".into(),
        backend: backend.into(),
        device: "cpu".into(),
        precision,
        decode_tok_s: here(decode),
        prefill_tok_s: here(decode * 10.0),
        ttft_s: None,
        latency_s: None,
        load_s: None,
        load_cold_s: None,
        energy_j_per_token: None,
        memory_bytes: None,
        quality: None,
        failed: None,
        variation_percent: 3.0,
    }
}

#[test]
fn measured_evidence_outranks_the_tree_and_says_so() {
    let d = device("core-i9-13900k", Some(32.0), Some(89.6));
    let m = model("llama-3.2-1b");
    let request = Request { objective: Objective::Speed, ..Request::default() };
    let before = decide(&d, &m, &request, &Evidence::default());
    assert!(before.overruled.is_none());
    let evidence = Evidence {
        rows: vec![
            measured("openvino", Precision::Int4AsymG64, 50.0),
            measured("llama.cpp", Precision::Q4_K_M, 300.0),
        ],
    };
    let r = decide(&d, &m, &request, &evidence);
    let pick = r.pick.unwrap().candidate;
    assert_eq!((pick.framework.as_str(), pick.precision), ("llama.cpp", Precision::Q4_K_M));
    assert_eq!(r.confidence.unwrap().level, "high");
    assert!(
        r.overruled.unwrap().contains("measured here llama.cpp"),
        "the tree prefers OpenVINO on Intel"
    );
    // What ran here is possible, whatever a converter's list says of it.
    let m = model("nemotron-3-nano-4b");
    let ran = measured("openvino", Precision::Int4AsymG64, 300.0);
    let evidence = Evidence { rows: vec![Measured { model: m.name.clone(), ..ran }] };
    assert_eq!(decide(&d, &m, &request, &evidence).pick.unwrap().candidate.framework, "openvino");
}

#[test]
fn an_alternative_names_the_rule_that_put_the_pick_before_it() {
    let d = device("snapdragon-8-elite", None, None);
    let r = decide(&d, &model("llama-3.2-3b"), &Request::default(), &Evidence::default());
    let pick = r.pick.unwrap().candidate;
    let on = |api| r.runners_up.iter().find(|a| a.choice.candidate.api == api).unwrap();
    let vulkan = on(ComputeApi::Vulkan);
    let speed = |c: &Candidate| c.decode_tok_s.as_ref().unwrap().value;
    assert!(speed(&vulkan.choice.candidate) > speed(&pick), "the rule decides, not the speed");
    let rule = vulkan.decided_by.as_ref().unwrap();
    assert!(rule.contains("\"Adreno GPU\": ") && vulkan.verdict().ends_with(rule), "{rule}");
    assert!(on(ComputeApi::Qnn).decided_by.is_none(), "no rule alone decides there");
}

#[test]
fn the_thriftiest_is_picked_where_energy_is_the_objective() {
    let d = device("core-i9-13900k", Some(32.0), Some(89.6));
    let m = model("llama-3.2-1b");
    let spends = |precision, decode, joules| Measured {
        energy_j_per_token: here(joules),
        ..measured("llama.cpp", precision, decode)
    };
    let rows = vec![
        spends(Precision::Q8_0, 100.0, 1.2),
        spends(Precision::Q6_K, 80.0, 0.5),
        spends(Precision::Q4_K_M, 120.0, 0.9),
    ];
    let evidence = Evidence { rows };
    let pick = |objective| {
        let request = Request { objective, ..Request::default() };
        decide(&d, &m, &request, &evidence).pick.unwrap().candidate
    };
    assert_eq!(pick(Objective::Energy).precision, Precision::Q6_K);
    assert_eq!(pick(Objective::Speed).precision, Precision::Q4_K_M);
    // Not measured: from the power limit and the speed, and said so.
    let request = Request { objective: Objective::Energy, ..Request::default() };
    let c = decide(&d, &m, &request, &Evidence::default()).pick.unwrap().candidate;
    let e = c.energy_j_per_token.expect("the profile names a power limit");
    assert_eq!(e.rung, Rung::Profile);
    let watts = e.value * c.decode_tok_s.unwrap().value;
    assert!((85.0..195.0).contains(&watts), "{watts} W of a 170 W processor");
}

/// With everything measured, the pick under `speed` is within 5 % of the fastest that satisfies the constraints.
#[test]
fn the_pick_is_within_five_percent_of_the_best_measured_variant() {
    let d = device("ryzen-9-7950x", Some(32.0), None);
    let m = model("llama-3.2-1b");
    let precisions = [
        Precision::Q8_0,
        Precision::Q6_K,
        Precision::Q5_K_M,
        Precision::Q4_K_M,
        Precision::Q4_0,
        Precision::Q2_K,
    ];
    // Speeds of a real ladder, shuffled by a fixed pattern so that no bit width is always the fastest.
    for turn in 0..precisions.len() {
        let speed = |i: usize| 20.0 + 7.0 * ((i * 5 + turn * 3) % precisions.len()) as f64;
        let mut rows = Vec::new();
        for (i, &p) in precisions.iter().enumerate() {
            rows.push(measured("llama.cpp", p, 100.0 + speed(i)));
            rows.push(measured("candle", p, 100.0 + 0.6 * speed(i)));
        }
        let evidence = Evidence { rows: rows.clone() };
        let request =
            Request { objective: Objective::Speed, min_quality: Some(80.0), ..Request::default() };
        let r = decide(&d, &m, &request, &evidence);
        let pick = r.pick.unwrap().candidate;
        let table = QualityTable::embedded();
        let best = rows
            .iter()
            .filter(|x| table.estimate(x.precision, m.parameters).is_some_and(|q| q.kept >= 80.0))
            .map(|x| x.decode_tok_s.as_ref().unwrap().value)
            .fold(0.0, f64::max);
        let got = pick.decode_tok_s.unwrap();
        assert_eq!(got.rung, Rung::MeasuredHere, "{}", pick.framework);
        assert!(got.value >= 0.95 * best, "turn {turn}: {} against {best}", got.value);
    }
}

/// A busy machine and a case that was not run say nothing of a variant; output that is no number does.
#[test]
fn only_what_a_variant_did_is_evidence_against_it() {
    use edge_advisor::model::{CaseOutcome, Finding, FindingKind};
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/example");
    let example = RunRecord::load(&run).unwrap();
    let evidence = |outcome: CaseOutcome, kind: FindingKind| {
        let mut record = example.clone();
        for case in &mut record.cases {
            case.outcome = outcome.clone();
            case.findings = vec![Finding::invalid(kind, "")];
        }
        Evidence::from_records(&[record], &example.header.device.id).rows
    };
    let invalid = || CaseOutcome::Invalid { why: "why".into() };
    let skipped = CaseOutcome::Skipped { reason: "not installed".into() };
    assert!(evidence(invalid(), FindingKind::ForeignLoad).is_empty());
    assert!(evidence(skipped, FindingKind::Note).is_empty());
    let rows = evidence(invalid(), FindingKind::NonFiniteOutput);
    assert!(!rows.is_empty() && rows.iter().all(|r| r.failed.is_some()));
}

/// The same on a real machine's record: the one behind the example report.
#[test]
fn on_the_example_record_the_pick_is_within_five_percent_of_the_best_measured_variant() {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/example");
    let record = RunRecord::load(&run).unwrap();
    let device = record.header.device.clone();
    let evidence = Evidence::from_records(std::slice::from_ref(&record), &device.id);
    let m = model("smollm2-135m");
    for least in [0.0, 60.0, 80.0, 95.0] {
        let objective = Objective::Speed;
        let request = Request { objective, min_quality: Some(least), ..Request::default() };
        let feasible = evidence.rows.iter().filter(|r| r.model == m.name && r.failed.is_none());
        let best = feasible
            .filter(|r| r.quality.as_ref().is_some_and(|q| q.kept >= least))
            .filter_map(|r| Some(r.decode_tok_s.as_ref()?.value))
            .fold(0.0, f64::max);
        let pick = decide(&device, &m, &request, &evidence).pick.expect("something fits");
        let got = pick.candidate.decode_tok_s.clone().expect("a speed");
        assert_eq!(got.rung, Rung::MeasuredHere, "{least}: {}", pick.candidate.label());
        assert!(best > 0.0 && got.value >= 0.95 * best, "{least}: {} against {best}", got.value);
    }
}

#[test]
fn a_rejection_names_the_number_that_failed_and_the_way_out() {
    let d = device("rpi-5", Some(4.0), None);
    let r = decide(&d, &model("llama-3.1-8b"), &Request::default(), &Evidence::default());
    assert!(r.pick.is_none());
    let (closest, relax) = r.closest.unwrap();
    assert!(
        closest.candidate.rejections.iter().any(|x| x.why.contains("short") || x.why.contains('%'))
    );
    assert!(relax.contains("--m"), "{relax}");
    assert!(!r.sensitivity.is_empty(), "more memory would help");
}

#[test]
fn contradictions_are_found_before_any_candidate_is_weighed() {
    let m = model("llama-3.2-1b");
    let check = |r: Request| r.check(&m).unwrap_err().what;
    assert!(check(Request { context: 1 << 40, ..Request::default() }).contains("longer than"));
    assert!(
        check(Request { min_quality: Some(120.0), ..Request::default() }).contains("percentage")
    );
    let vision =
        Request { workload: Some(edge_advisor::model::ModelKind::Vision), ..Request::default() };
    assert!(check(vision).contains("contradicts"));
}

#[test]
fn more_memory_never_makes_the_pick_worse() {
    let m = model("qwen3-8b");
    let request = Request { objective: Objective::Quality, ..Request::default() };
    let mut last = 0.0;
    for ram in [6.0, 8.0, 12.0, 16.0, 24.0, 32.0] {
        let d = device("rk3588", Some(ram), None);
        let kept = decide(&d, &m, &request, &Evidence::default())
            .pick
            .map_or(0.0, |p| p.candidate.quality.map_or(0.0, |q| q.kept));
        assert!(kept >= last - 0.05, "{ram} GiB: {kept} after {last}");
        last = kept;
    }
}

#[test]
fn the_tree_document_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/decision-tree.md");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        text.trim_end(),
        advise::document(Rules::embedded()).trim_end(),
        "run `edge-advisor advise tree --format markdown > docs/decision-tree.md`"
    );
}

#[test]
fn the_drawn_tree_marks_the_path_taken() {
    let d = device("rtx-4090", None, None);
    let m = model("llama-3.1-8b");
    let r = decide(&d, &m, &Request::default(), &Evidence::default());
    let walk = advise::Walk { steps: r.trace };
    let rules = Rules::embedded();
    assert!(advise::text(rules, Some(&walk)).contains("* NVIDIA GPU [hw.nvidia]"));
    assert!(advise::mermaid(rules, Some(&walk)).contains("class hw_nvidia taken"));
    let svg = advise::svg(rules, Some(&walk));
    let mut reader = quick_xml::Reader::from_str(&svg);
    loop {
        match reader.read_event().expect("well-formed SVG") {
            quick_xml::events::Event::Eof => break,
            _ => continue,
        }
    }
    assert!(svg.contains("#1a7f45"));
}

#[test]
fn every_framework_with_a_backend_lists_only_what_the_backend_runs() {
    for b in edge_advisor::backend::all() {
        let info = b.info();
        // Olive is recommended together with the runtime that runs what it makes.
        let id = if info.id == "olive" { "onnxruntime" } else { info.id };
        let Some(f) = Frameworks::embedded().get(id) else {
            assert!(!info.listed, "{} has no entry in profiles/rules/frameworks.toml", info.id);
            continue;
        };
        for t in &f.targets {
            for p in t.precisions.iter().chain(&t.graph_precisions) {
                assert!(
                    info.precisions.contains(p) || id != info.id,
                    "{} {:?}: {p} is not in the backend's list",
                    f.id,
                    t.api
                );
            }
        }
    }
}

#[test]
fn verify_measures_the_best_here_and_then_says_measured() {
    let dir = tempfile::TempDir::new().unwrap();
    let output = crate::support::edge_advisor()
        .args(["recommend", "smollm2-135m", "--verify=1", "--framework", "candle"])
        .args(["--objective", "speed", "--format", "json", "--prompt", "32"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("only JSON on stdout");
    crate::schema::follows("recommendation", &answer);
    let runs = std::fs::read_dir(dir.path().join("reports")).unwrap();
    let records: Vec<_> =
        runs.map(|d| edge_advisor::record::RunRecord::load(&d.unwrap().path()).unwrap()).collect();
    assert!(records.iter().all(|r| r.cases.len() == 1) && !records.is_empty(), "{text}");
    // On a busy machine a case is invalid and no evidence: then the answer must not call it measured.
    let completed: Vec<String> = records
        .iter()
        .flat_map(|r| &r.cases)
        .filter(|c| c.outcome.is_completed())
        .map(|c| c.case.precision.to_string())
        .collect();
    let pick = &answer["pick"];
    let known = completed.iter().any(|p| pick["precision"] == p.as_str());
    assert_eq!(pick["measured"] == true, known, "{text}");
    assert!(known || completed.len() < records.len(), "the pick was not measured: {text}");
}

#[test]
fn the_commands_for_a_graph_that_is_a_file_name_that_file() {
    let model = edge_advisor::dirs::data().join("models/magika/model.onnx");
    if !model.is_file() {
        assert!(std::env::var("CI").is_err(), "tests/run pulls {model:?}");
        eprintln!("skipped: magika is not here");
        return;
    }
    let output = crate::support::edge_advisor()
        .args(["recommend", "--format", "json", "--framework", "openvino"])
        .arg(&model)
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = answer["pick"]["commands"]["run"].as_str().unwrap_or_default();
    let file = model.to_str().unwrap();
    assert!(run.contains(file) && !run.contains("HF_REPOSITORY"), "{answer:#}");
}

#[test]
fn a_gguf_that_no_repository_has_is_made_from_the_original_weights() {
    let output = crate::support::edge_advisor()
        .args(["recommend", "gemma-4-26b-a4b", "--device", "rtx-4090", "--framework", "llama.cpp"])
        .args(["--format", "json"])
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let runners_up = answer["runners_up"].as_array().unwrap();
    let choices = runners_up.iter().chain([&answer["pick"]]);
    let mut made = Vec::new();
    for choice in choices {
        let run = choice["commands"]["run"].as_str().unwrap();
        let precision = choice["precision"].as_str().unwrap();
        let published = precision == "Q4_K_M";
        assert_eq!(run.contains("-hf lmstudio-community/gemma-4-26B-A4B-it-GGUF:"), published);
        let quantized = format!(
            "llama-quantize gemma-4-26b-a4b-source.gguf gemma-4-26b-a4b-{precision}.gguf {precision} &&"
        );
        assert_eq!(run.contains(&quantized), !published, "{run}");
        assert_eq!(run.contains("hf download google/gemma-4-26B-A4B-it --local-dir"), !published);
        made.push(published);
    }
    assert!(made.contains(&true) && made.contains(&false), "both ways were seen: {made:?}");
}

#[test]
fn a_framework_is_advised_only_for_models_that_it_knows() {
    let ask = |words: &[&str]| {
        let mut command = crate::support::edge_advisor();
        command.arg("recommend").args(words).args(["--format", "json"]).output().unwrap()
    };
    let run = |words: &[&str]| {
        let output = ask(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["pick"]["commands"]["run"].as_str().unwrap().to_owned()
    };
    let laptop = ["--device", "core-ultra-7-258v", "--framework"];
    for (model, framework) in [
        ("nemotron-3-nano-4b", "openvino"),
        ("nemotron-3-nano-4b", "onnxruntime"),
        ("mixtral-8x7b", "onnxruntime"),
        ("granite-4.0-micro", "onnxruntime"),
        ("glm-4.7-flash", "openvino"),
    ] {
        let output = ask(&[&[model], &laptop[..], &[framework, "--ram", "64"]].concat());
        assert_eq!(output.status.code(), Some(4), "{model} {framework}");
        let said = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        assert!(said.contains("does not know"), "{said}");
    }
    let run_on = |model, framework| run(&[&[model], &laptop[..], &[framework]].concat());
    assert!(run_on("qwen3.5-2b", "openvino").contains("nncf 'transformers>=5.2,<=5.2.99' && "));
    assert!(run_on("llama-3.2-1b", "openvino").contains("nncf && "), "any version will do");
    assert!(run_on("qwen3-1.7b", "onnxruntime").contains("builder -m Qwen/Qwen3-1.7B -o "));

    let phone = ["--device", "snapdragon-8-elite", "--framework", "qnn"];
    let export = run(&[&["llama-3.2-1b"], &phone[..]].concat());
    assert!(export.contains("qai-hub-models export llama_v3_2_1b_instruct "), "{export}");
    let other = ask(&[&["qwen2.5-1.5b"], &phone[..]].concat());
    assert_eq!(other.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&other.stderr).contains("not made for this model"));
    run(&[&["--params", "3B"], &phone[..]].concat());

    let npu = ["--device", "ryzen-ai-max-395", "--framework", "fastflowlm"];
    assert_eq!(run(&[&["qwen3-4b"], &npu[..]].concat()), "flm serve qwen3:4b");
}

#[test]
fn the_catalogues_pick_is_the_most_capable_that_is_comfortable_or_the_nearest_to_it() {
    let recommend = |words: &[&str]| {
        let mut command = crate::support::edge_advisor();
        let output = command.args(["recommend", "--device", "rpi-5"]).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let models = |words: &[&str]| {
        let words = [words, &["--format", "json"]].concat();
        let answer: serde_json::Value = serde_json::from_str(&recommend(&words)).unwrap();
        assert_eq!(answer["best"]["model"], answer["models"][0]["model"]);
        answer["models"].as_array().unwrap().clone()
    };
    let number = |m: &serde_json::Value, key: &str| m[key].as_f64().unwrap();

    let fits = models(&[]);
    let value = |key: &str| fits[0]["choice"][key]["value"].as_f64().unwrap();
    assert!(value("decode_tok_s") >= 10.0 && value("ttft_s") <= 10.0, "{:#}", fits[0]);
    let comfortable = fits.iter().filter(|m| number(m, "slowness") == 1.0);
    let most = comfortable.map(|m| number(m, "capability")).fold(0.0, f64::max);
    assert_eq!(number(&fits[0], "capability"), most);

    let slow = ["--bandwidth", "0.2"];
    let least = |m: &Vec<serde_json::Value>| {
        m.iter().map(|m| number(m, "slowness")).fold(f64::INFINITY, f64::min)
    };
    let fits = models(&slow);
    assert!(number(&fits[0], "slowness") > 1.0 && number(&fits[0], "slowness") == least(&fits));
    assert!(
        recommend(&slow).contains("slower than comfortable (10 tok/s, first token within 10 s)")
    );
    assert!(recommend(&["--max-ttft", "3"]).contains("10 tok/s, first token within 3 s"));
}
