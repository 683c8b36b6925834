//! Half-precision rows in and out: what the key-value cache is kept in.

use super::Isa;
use super::dequant::f16_to_f32;

/// Widens `x` into `out`, over the shorter length.
pub fn widen(isa: Isa, x: &[u16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if isa.checked() >= Isa::Avx2 {
        // SAFETY: `checked` is at least AVX2 only where the CPU has AVX2, FMA and F16C.
        return unsafe { super::x86::widen(x, out) };
    }
    let _ = isa;
    for (o, &x) in out.iter_mut().zip(x) {
        *o = f16_to_f32(x);
    }
}

/// Narrows `x` into `out`, to nearest even, over the shorter length.
pub fn narrow(isa: Isa, x: &[f32], out: &mut [u16]) {
    #[cfg(target_arch = "x86_64")]
    if isa.checked() >= Isa::Avx2 {
        // SAFETY: `checked` is at least AVX2 only where the CPU has AVX2, FMA and F16C.
        return unsafe { super::x86::narrow(x, out) };
    }
    let _ = isa;
    for (o, &x) in out.iter_mut().zip(x) {
        *o = half::f16::from_f32(x).to_bits();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_exactly_and_narrows_back() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        for isa in Isa::available() {
            let mut wide = vec![0f32; all.len()];
            widen(isa, &all, &mut wide);
            let mut back = vec![0u16; all.len()];
            narrow(isa, &wide, &mut back);
            for ((&bits, &x), &b) in all.iter().zip(&wide).zip(&back) {
                let expected = half::f16::from_bits(bits).to_f32();
                if expected.is_nan() {
                    assert!(x.is_nan());
                } else {
                    assert_eq!(x.to_bits(), expected.to_bits(), "{bits:#06x}");
                    assert_eq!(b, bits);
                }
            }
        }
    }
}
