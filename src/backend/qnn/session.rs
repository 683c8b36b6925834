//! A graph on QNN: ONNX Runtime's session, its answers held against those of ONNX Runtime's own CPU provider.

use std::path::PathBuf;

use super::options::Options;
use super::profile::Profile;
use super::target::Target;
use crate::backend::{BackendError, GraphSession};
use crate::model::{Finding, FindingKind, Tensor};
use crate::record::SessionFacts;

/// Below this the answers are another model's. Quantized graphs on the simulator reach 0.999 against the CPU provider.
const MIN_COSINE: f64 = 0.9;
/// Operators named in the record.
const SLOWEST: usize = 5;

/// What a session is and where it leaves things.
pub(super) struct Setup {
    pub target: Target,
    pub options: Options,
    /// Where the provider writes its profile.
    pub profile: Option<PathBuf>,
}

pub(super) struct QnnSession {
    inner: Box<dyn GraphSession>,
    /// The same file on the CPU provider, until it has been compared with.
    reference: Option<Box<dyn GraphSession>>,
    setup: Setup,
    findings: Vec<Finding>,
    cosine: Option<f64>,
}

impl QnnSession {
    pub(super) fn new(
        inner: Box<dyn GraphSession>,
        reference: Box<dyn GraphSession>,
        setup: Setup,
    ) -> Self {
        let findings = setup.target.finding().into_iter().collect();
        Self { inner, reference: Some(reference), setup, findings, cosine: None }
    }

    /// Runs both once on the inputs they were given, the first time inputs are set.
    fn compare(&mut self, mut reference: Box<dyn GraphSession>) -> Result<(), BackendError> {
        self.inner.run()?;
        reference.run()?;
        let (ours, theirs) = (self.inner.output()?, reference.output()?);
        let cosine = cosine(&ours, &theirs);
        self.cosine = cosine;
        if cosine.is_none_or(|c| c < MIN_COSINE) {
            let detail = match cosine {
                Some(c) => {
                    format!("its output has cosine {c:.4} to that of ONNX Runtime's CPU provider")
                }
                None => {
                    "its output cannot be compared with that of ONNX Runtime's CPU provider".into()
                }
            };
            self.findings.push(Finding::invalid(FindingKind::GarbageOutput, detail).with_hint(
                "the graph is compiled wrongly: try another precision, or fixed shapes",
            ));
        }
        Ok(())
    }
}

impl Target {
    fn name(&self) -> &'static str {
        match self {
            Target::Npu { .. } => "Hexagon NPU",
            Target::Gpu => "Adreno GPU",
            Target::Cpu => "QNN's CPU library",
            Target::Simulator => "HTP simulator on this CPU",
        }
    }

    fn finding(&self) -> Option<Finding> {
        (*self == Target::Simulator).then(|| {
            let detail = "the NPU is simulated on this host: answers and placement count, times were dropped";
            Finding::note(FindingKind::Simulated, detail)
                .with_hint("measure speed on a Snapdragon device")
        })
    }
}

/// Of two vectors of finite numbers, equally long and not zero.
fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let norm = (dot(a, a) * dot(b, b)).sqrt();
    let value = dot(a, b) / norm;
    (a.len() == b.len() && value.is_finite()).then_some(value)
}

impl GraphSession for QnnSession {
    fn facts(&self) -> SessionFacts {
        let mut facts = self.inner.facts();
        facts.kernel = self.setup.target.name().to_owned();
        let mut set = |k: &str, v: String| drop(facts.settings.insert(k.to_owned(), v));
        set("performance mode", self.setup.options.performance.clone());
        set("cpu fallback", if self.setup.options.fallback { "on" } else { "off" }.to_owned());
        if let Some(cosine) = self.cosine {
            set("cosine to CPU provider", format!("{cosine:.5}"));
        }
        match self.setup.profile.as_deref().map(Profile::read) {
            None => {}
            Some(Ok(profile)) => {
                for (name, share) in profile.slowest(SLOWEST) {
                    set(&format!("time of {name}"), format!("{:.1} %", share * 100.0));
                }
                for (name, (sum, count)) in &profile.totals {
                    set(&format!("{name}, us"), format!("{:.0}", sum / *count as f64));
                }
            }
            Some(Err(why)) => {
                let detail = format!("QNN's profile cannot be read: {why}");
                facts.findings.push(Finding::note(FindingKind::Note, detail));
            }
        }
        facts.findings.extend(self.findings.iter().cloned());
        facts
    }

    fn set_inputs(&mut self, inputs: &[Tensor]) -> Result<(), BackendError> {
        self.inner.set_inputs(inputs)?;
        if let Some(mut reference) = self.reference.take() {
            reference.set_inputs(inputs)?;
            self.compare(reference)?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), BackendError> {
        self.inner.run()
    }

    fn output(&self) -> Result<Vec<f32>, BackendError> {
        self.inner.output()
    }

    fn output_shape(&self) -> Option<Vec<usize>> {
        self.inner.output_shape()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<f32>);

    impl GraphSession for Fixed {
        fn facts(&self) -> SessionFacts {
            SessionFacts::default()
        }
        fn set_inputs(&mut self, _: &[Tensor]) -> Result<(), BackendError> {
            Ok(())
        }
        fn run(&mut self) -> Result<(), BackendError> {
            Ok(())
        }
        fn output(&self) -> Result<Vec<f32>, BackendError> {
            Ok(self.0.clone())
        }
    }

    fn facts(target: Target, ours: &[f32], cpu: &[f32]) -> SessionFacts {
        let setup = Setup { target, options: Options::default(), profile: None };
        let (ours, cpu) = (Box::new(Fixed(ours.to_vec())), Box::new(Fixed(cpu.to_vec())));
        let mut session = QnnSession::new(ours, cpu, setup);
        session.set_inputs(&[]).unwrap();
        session.facts()
    }

    #[test]
    fn answers_unlike_the_cpu_provider_s_are_invalid() {
        let npu = || Target::Npu { htp_arch: Some(75) };
        let good = facts(npu(), &[1.0, 2.0, 3.01], &[1.0, 2.0, 3.0]);
        assert!(good.findings.is_empty(), "{:?}", good.findings);
        assert_eq!(good.settings["cosine to CPU provider"], "1.00000");
        for garbage in [&[3.0, -2.0, 0.1][..], &[0.0, 0.0, 0.0], &[f32::NAN, 1.0, 1.0], &[1.0]] {
            let bad = facts(npu(), garbage, &[1.0, 2.0, 3.0]);
            assert!(bad.findings.iter().any(|f| f.invalidates), "{garbage:?}");
        }
    }

    #[test]
    fn a_simulated_session_says_so() {
        let found = facts(Target::Simulator, &[1.0], &[1.0]).findings;
        assert!(found.iter().any(|f| f.kind == FindingKind::Simulated), "{found:?}");
    }
}
