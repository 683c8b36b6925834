//! Which instruction sets the engine's kernels use here, found at run time, and the macro that compiles
//! one portable source for each of them.

use std::fmt;
use std::sync::OnceLock;

/// Widest instruction set that the own kernels use on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the target guarantees: SSE2 on x86-64, NEON on AArch64.
    Baseline,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX2 and the 256-bit integer dot products of AVX-512 VNNI.
    Avx512Vnni,
}

impl Isa {
    /// What this CPU has; asked once.
    pub fn detect() -> Self {
        static ISA: OnceLock<Isa> = OnceLock::new();
        *ISA.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                let vnni = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni");
                return if vnni { Isa::Avx512Vnni } else { Isa::Avx2 };
            }
            Isa::Baseline
        })
    }

    /// Every set this CPU can run, narrowest first: what tests and benches go through.
    pub fn available() -> impl Iterator<Item = Isa> {
        [Isa::Baseline, Isa::Avx2, Isa::Avx512Vnni].into_iter().filter(|&i| i <= Isa::detect())
    }

    /// Clamped to what the CPU has, so that holding an `Isa` is proof enough to run its kernels.
    pub(super) fn checked(self) -> Self {
        self.min(Isa::detect())
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Isa::Baseline if cfg!(target_arch = "aarch64") => "neon",
            Isa::Baseline => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512Vnni => "avx512-vnni",
        })
    }
}

/// Defines a function whose body is compiled for the baseline and for AVX2, and picks at run time.
macro_rules! dispatch {
    ($(#[$meta:meta])* pub fn $name:ident($isa:ident: Isa; $($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        pub fn $name($isa: Isa, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn portable($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                portable($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            if $isa.checked() >= Isa::Avx2 {
                // SAFETY: `checked` is at least AVX2 only where the CPU has AVX2, FMA and F16C.
                return unsafe { avx2($($arg),*) };
            }
            let _ = $isa;
            portable($($arg),*)
        }
    };
}
pub(super) use dispatch;
