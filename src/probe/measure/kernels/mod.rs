//! The inner loops. Each set holds what one instruction set does best; the best set the CPU runs is chosen.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

type CopyLoop = fn(&mut [f64], &[f64]);
type TriadLoop = fn(&mut [f64], &[f64], &[f64]);

/// Streams over memory. Slices have equal lengths, a multiple of 64 elements, aligned to 64 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Streams {
    /// Instruction set, for the report.
    pub isa: &'static str,
    pub read: fn(&[f64]) -> u64,
    /// `to = from`.
    pub copy: CopyLoop,
    /// `a = b + 3 c`.
    pub triad: TriadLoop,
    /// The same with stores that bypass the caches, where the CPU has them.
    pub copy_past: Option<CopyLoop>,
    pub triad_past: Option<TriadLoop>,
}

/// Arithmetic on registers only.
#[derive(Clone, Copy)]
pub(crate) struct Arithmetic {
    /// `f32`, `int8_dot`, `bf16_dot`.
    pub kind: &'static str,
    pub isa: &'static str,
    /// Runs that many rounds and returns a value that depends on all of them.
    pub run: fn(u64) -> u64,
    /// Operations a round; a multiply-add is two.
    pub operations: u64,
    /// Operations one unit completes a clock, and how many units a core may have: the ceiling.
    pub per_instruction: u64,
    pub units: u64,
}

/// Kernels this CPU runs, best first.
pub(crate) fn streams() -> Vec<Streams> {
    #[cfg(target_arch = "x86_64")]
    let special = x86::streams();
    #[cfg(not(target_arch = "x86_64"))]
    let special = Vec::new();
    special.into_iter().chain([portable::STREAMS]).collect()
}

pub(crate) fn arithmetic() -> Vec<Arithmetic> {
    let mut all = Vec::new();
    #[cfg(target_arch = "x86_64")]
    all.extend(x86::arithmetic());
    all.extend(portable::arithmetic());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_kernel_does_what_its_name_says() {
        for set in streams() {
            let from: Vec<f64> = (0..256).map(f64::from).collect();
            let three: Vec<f64> = vec![2.0; 256];
            let aligned = |n: usize| {
                let mut v = crate::probe::measure::memory::Buffer::new(n * 8).unwrap();
                v.floats().fill(0.0);
                v
            };
            let (mut to, mut source, mut other) = (aligned(256), aligned(256), aligned(256));
            source.floats().copy_from_slice(&from);
            other.floats().copy_from_slice(&three);
            for copy in [Some(set.copy), set.copy_past].into_iter().flatten() {
                to.floats().fill(0.0);
                copy(to.floats(), source.floats());
                assert_eq!(to.floats(), from, "{}", set.isa);
            }
            for triad in [Some(set.triad), set.triad_past].into_iter().flatten() {
                to.floats().fill(0.0);
                triad(to.floats(), source.floats(), other.floats());
                assert!(to.floats().iter().zip(&from).all(|(a, b)| *a == b + 6.0), "{}", set.isa);
            }
            let before = (set.read)(source.floats());
            source.floats()[255] = -1.5;
            assert_ne!((set.read)(source.floats()), before, "{} reads to the end", set.isa);
        }
    }

    #[test]
    fn arithmetic_kernels_run_and_depend_on_their_rounds() {
        for kernel in arithmetic() {
            assert_ne!((kernel.run)(1), (kernel.run)(1000), "{} {}", kernel.kind, kernel.isa);
            assert!(kernel.operations > 0);
        }
    }
}
