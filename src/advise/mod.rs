//! The decision: facts walk a tree of rules kept as data, candidates are predicted and judged, the answer explains itself.
//!
//! Pure: takes a device, a model, a request, the state of the frameworks and what was measured; reads nothing else.

mod candidate;
mod catalogue;
mod command;
mod decide;
mod draw;
mod evidence;
mod facts;
mod framework;
mod quality;
mod recommendation;
mod request;
mod rules;
mod sensitivity;

pub use candidate::{Candidate, Rejection};
pub use catalogue::{CatalogueChoice, Comfort, advise_catalogue};
pub use command::{Commands, GgufFiles, ModelSource};
pub use decide::{Input, advise, walk};
pub use draw::{document, mermaid, svg, text};
pub use evidence::{Evidence, Measured};
pub use facts::{FactValue, Facts};
pub use framework::{Framework, FrameworkState, Frameworks, States, Target};
pub use quality::{Quality, QualityTable};
pub use recommendation::{Choice, Confidence, Recommendation, Refused, RunnerUp, Sensitivity};
pub use request::{Objective, Request, RequestError, Workflow};
pub use rules::{Rules, RulesError, Step, Walk};
