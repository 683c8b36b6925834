//! Pictures drawn by rule: shaded ground, shapes with edges, lines of lettering, a little noise.

use rand::RngExt;

use super::Part;

/// 5x7 letters, one byte a row, the low five bits from left to right.
const GLYPHS: &[(u8, [u8; 7])] = &[
    (b'A', [14, 17, 17, 31, 17, 17, 17]),
    (b'B', [30, 17, 17, 30, 17, 17, 30]),
    (b'C', [14, 17, 16, 16, 16, 17, 14]),
    (b'D', [30, 17, 17, 17, 17, 17, 30]),
    (b'E', [31, 16, 16, 30, 16, 16, 31]),
    (b'F', [31, 16, 16, 30, 16, 16, 16]),
    (b'H', [17, 17, 17, 31, 17, 17, 17]),
    (b'I', [14, 4, 4, 4, 4, 4, 14]),
    (b'K', [17, 18, 20, 24, 20, 18, 17]),
    (b'L', [16, 16, 16, 16, 16, 16, 31]),
    (b'M', [17, 27, 21, 21, 17, 17, 17]),
    (b'N', [17, 25, 21, 19, 17, 17, 17]),
    (b'O', [14, 17, 17, 17, 17, 17, 14]),
    (b'P', [30, 17, 17, 30, 16, 16, 16]),
    (b'R', [30, 17, 17, 30, 20, 18, 17]),
    (b'S', [15, 16, 16, 14, 1, 1, 30]),
    (b'T', [31, 4, 4, 4, 4, 4, 4]),
    (b'U', [17, 17, 17, 17, 17, 17, 14]),
    (b'1', [4, 12, 4, 4, 4, 4, 14]),
    (b'2', [14, 17, 1, 6, 8, 16, 31]),
    (b'3', [30, 1, 1, 14, 1, 1, 30]),
    (b'4', [2, 6, 10, 18, 31, 2, 2]),
    (b'5', [31, 16, 30, 1, 1, 17, 14]),
    (b'7', [31, 1, 2, 4, 8, 8, 8]),
    (b'8', [14, 17, 17, 14, 17, 17, 14]),
    (b'0', [14, 19, 21, 21, 25, 17, 14]),
];

/// An RGB picture with values 0 to 255, row by row.
pub(super) struct Picture {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<[f32; 3]>,
}

/// Picture `index` of a part. Low, wide ones are one line of text, as text recognition gets it.
pub(super) fn picture(part: Part, index: usize, width: usize, height: usize) -> Picture {
    let mut random = super::random(part, index);
    let mut colour = || [0; 3].map(|_: i32| random.random_range(0.0f32..255.0));
    let line = is_text_line(width, height);
    let (corner, other) = match line {
        true => ([235.0; 3], [215.0; 3]),
        false => (colour(), colour()),
    };
    let mut p = Picture { width, height, pixels: Vec::with_capacity(width * height) };
    for y in 0..height {
        for x in 0..width {
            let t = (x as f32 / width as f32 + y as f32 / height as f32) / 2.0;
            p.pixels.push([0, 1, 2].map(|c| corner[c] * (1.0 - t) + other[c] * t));
        }
    }
    if line {
        let scale = (height / 10).max(1);
        let room = width.saturating_sub(2 * scale) / (6 * scale);
        p.letters(&mut random, scale, (height - 7 * scale) / 2, room.max(1), [30.0; 3]);
    } else {
        p.shapes(&mut random);
        let lines = random.random_range(2..5usize);
        for i in 0..lines {
            let scale = random.random_range(1..=(height / 80).max(1) + 1);
            let y = (height * (2 * i + 1) / (2 * lines)).min(height.saturating_sub(7 * scale));
            let count = random.random_range(5..18);
            let shade = if random.random_range(0..2) == 0 { [15.0; 3] } else { [245.0; 3] };
            p.letters(&mut random, scale, y, count, shade);
        }
    }
    for v in p.pixels.iter_mut().flatten() {
        *v = (*v + random.random_range(-6.0f32..6.0)).clamp(0.0, 255.0).round();
    }
    p
}

/// Narrow enough to hold one line of text.
pub(super) fn is_text_line(width: usize, height: usize) -> bool {
    height <= 64 && width >= 2 * height
}

impl Picture {
    fn shapes(&mut self, random: &mut impl RngExt) {
        for _ in 0..random.random_range(4..9) {
            let colour = [0; 3].map(|_: i32| random.random_range(0.0f32..255.0));
            let (w, h) = (self.width as f32, self.height as f32);
            let (cx, cy) = (random.random_range(0.0..w), random.random_range(0.0..h));
            let (rx, ry) = (random.random_range(0.05..0.3) * w, random.random_range(0.05..0.3) * h);
            let round = random.random_range(0..2) == 0;
            for y in 0..self.height {
                for x in 0..self.width {
                    let (dx, dy) = ((x as f32 - cx) / rx, (y as f32 - cy) / ry);
                    let inside = match round {
                        true => dx * dx + dy * dy < 1.0,
                        false => dx.abs() < 1.0 && dy.abs() < 1.0,
                    };
                    if inside {
                        // Lit from above.
                        self.pixels[y * self.width + x] = colour.map(|c| c * (1.0 - 0.25 * dy));
                    }
                }
            }
        }
    }

    fn letters(
        &mut self,
        random: &mut impl RngExt,
        scale: usize,
        top: usize,
        count: usize,
        colour: [f32; 3],
    ) {
        let mut left = scale;
        for i in 0..count {
            // A gap between words.
            if i % 7 == 5 {
                left += 6 * scale;
                continue;
            }
            let (_, rows) = GLYPHS[random.random_range(0..GLYPHS.len())];
            for (row, bits) in rows.iter().enumerate() {
                for column in (0..5).filter(|c| bits >> (4 - c) & 1 == 1) {
                    for y in 0..scale {
                        for x in 0..scale {
                            let (x, y) = (left + column * scale + x, top + row * scale + y);
                            if x < self.width && y < self.height {
                                self.pixels[y * self.width + x] = colour;
                            }
                        }
                    }
                }
            }
            left += 6 * scale;
        }
    }
}
