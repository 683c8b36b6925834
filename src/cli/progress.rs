//! What a person sees of a run while it goes: one bar, the current case, its last speed.

use indicatif::{ProgressBar, ProgressStyle};

use super::Output;
use crate::model::Metric;
use crate::runner::RunEvent;

/// Shows run events on stderr; silent where stderr is no terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    visible: bool,
    quiet: bool,
    case: String,
    speeds: [Option<f64>; 2],
}

impl Progress {
    pub(crate) fn new(output: &Output) -> Self {
        let visible = output.progress();
        let bar = if visible { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} eta {eta} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, visible, quiet: output.quiet, case: String::new(), speeds: [None, None] }
    }

    pub(crate) fn on(&mut self, event: &RunEvent<'_>) {
        match event {
            RunEvent::Preparing { key, fraction, step } => {
                self.bar.set_message(format!("making {key}: {step} {:.0} %", fraction * 100.0));
            }
            RunEvent::CaseStarted { index, total, id } => {
                self.bar.set_length(*total as u64);
                self.bar.set_position(*index as u64);
                self.case.clone_from(id);
                self.speeds = [None, None];
                self.bar.set_message(id.clone());
            }
            RunEvent::Cooling { celsius, target } => {
                let case = &self.case;
                self.bar.set_message(format!("cooling to {target:.0} °C, now {celsius:.0} {case}"));
            }
            RunEvent::Phase(phase) => self.message(&phase.to_string()),
            RunEvent::Sample { metric: Metric::PrefillTokS, value, .. } => {
                self.speeds[0] = Some(*value);
            }
            RunEvent::Sample { metric: Metric::DecodeTokS, value, .. } => {
                self.speeds[1] = Some(*value);
                self.message("");
            }
            RunEvent::Sample { .. } => {}
            RunEvent::CaseFinished(record) => {
                self.bar.inc(1);
                if !self.quiet {
                    let reason = record.outcome.reason();
                    let dash = if reason.is_empty() { "" } else { ": " };
                    let line =
                        format!("{} {}{dash}{reason}", record.case.id(), record.outcome.word());
                    if self.visible { self.bar.println(line) } else { eprintln!("{line}") }
                }
            }
        }
    }

    fn message(&self, phase: &str) {
        let [prefill, decode] =
            self.speeds.map(|s| s.map_or("-".to_owned(), |v| format!("{v:.1}")));
        self.bar.set_message(format!("{} pp {prefill} tg {decode} tok/s {phase}", self.case));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
