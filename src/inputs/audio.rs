//! Speech-like sound: voiced syllables with moving pitch and formants, hiss between them, pauses.

use std::f32::consts::TAU;

use rand::RngExt;

use super::Part;

/// Samples a second.
pub(super) const RATE: usize = 16_000;

/// `count` samples in -1..1 of take `index`. Takes are cut from different moments of talk, some of them pauses.
pub(super) fn speech(part: Part, index: usize, count: usize) -> Vec<f32> {
    let mut random = super::random(part, index);
    let pitch = random.random_range(95.0f32..210.0);
    let vowels: [[f32; 3]; 4] = [
        [730.0, 1090.0, 2440.0],
        [270.0, 2290.0, 3010.0],
        [300.0, 870.0, 2240.0],
        [530.0, 1840.0, 2480.0],
    ];
    // Every fourth take begins in a pause, so that there is silence to find.
    let start = if index % 4 == 3 { 0.86 } else { random.random_range(0.0f32..0.6) };
    let first = random.random_range(0..vowels.len());
    let mut phase = 0.0f32;
    (0..count)
        .map(|n| {
            let t = start + n as f32 / RATE as f32;
            // Four syllables a second; the last of four is a pause.
            let syllable = (t * 4.0) as usize;
            let inside = (t * 4.0).fract();
            let voiced = syllable % 4 != 3;
            let envelope =
                if voiced { (inside * std::f32::consts::PI).sin().powf(0.6) } else { 0.0 };
            let f0 = pitch * (1.0 + 0.12 * (t * 3.1).sin());
            phase = (phase + f0 / RATE as f32).fract();
            let formants = vowels[(first + syllable) % vowels.len()];
            let mut voice = 0.0;
            for harmonic in 1..=24 {
                let f = f0 * harmonic as f32;
                let gain: f32 =
                    formants.iter().map(|c| 1.0 / (1.0 + ((f - c) / 120.0).powi(2))).sum();
                voice += gain * (TAU * phase * harmonic as f32).sin() / (harmonic as f32).sqrt();
            }
            let hiss = random.random_range(-1.0f32..1.0)
                * if inside < 0.12 && voiced { 0.12 } else { 0.004 };
            (0.18 * envelope * voice + hiss).clamp(-1.0, 1.0)
        })
        .collect()
}

/// A log-mel picture of speech, `bands` x `frames`, scaled as Whisper's front end does (about -1 to 1).
pub(super) fn mel(part: Part, index: usize, bands: usize, frames: usize) -> Vec<f32> {
    let mut random = super::random(part, index);
    let offset = random.random_range(0.0f32..4.0);
    let mut out = vec![0.0; bands * frames];
    for frame in 0..frames {
        let t = offset + frame as f32 * 0.01;
        let loud =
            ((t * 4.0).fract() * std::f32::consts::PI).sin() * f32::from((t * 4.0) as u32 % 4 != 3);
        for band in 0..bands {
            let x = band as f32 / bands as f32;
            let peak = |c: f32| (-((x - c) * 9.0).powi(2)).exp();
            let shape =
                peak(0.2 + 0.1 * (t * 2.3).sin()) + 0.7 * peak(0.55 + 0.1 * (t * 1.7).cos());
            out[band * frames + frame] =
                (loud * shape * 1.6 - 0.6 + random.random_range(-0.05f32..0.05)).clamp(-1.0, 1.5);
        }
    }
    out
}
