//! Places text labels beside points so that no label covers another label or a point.

use super::canvas::{FONT, text_width};

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Rect {
    pub(crate) fn around(at: (f64, f64), radius: f64) -> Self {
        let (x, y) = at;
        Self { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }

    fn overlaps(&self, other: &Rect) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn inside(&self, outer: &Rect) -> bool {
        self.left >= outer.left
            && self.right <= outer.right
            && self.top >= outer.top
            && self.bottom <= outer.bottom
    }
}

/// A point that wants a label; earlier ones choose first.
pub(crate) struct Wanted<'a> {
    pub at: (f64, f64),
    pub radius: f64,
    pub text: &'a str,
}

/// The left end and middle line of each label, clear of `taken`; `None` where there was no free place.
pub(crate) fn place(wanted: &[Wanted], taken: &[Rect], bounds: Rect) -> Vec<Option<(f64, f64)>> {
    let mut taken = taken.to_vec();
    taken.extend(wanted.iter().map(|w| Rect::around(w.at, w.radius + 1.0)));
    let mut places = Vec::with_capacity(wanted.len());
    for w in wanted {
        let half = f64::from(FONT) * 0.62;
        let width = text_width(w.text);
        let (x, y) = w.at;
        let gap = w.radius + 3.0;
        let rows = [0.0, -gap - half, gap + half, -gap - 3.0 * half, gap + 3.0 * half];
        let candidates = rows.into_iter().flat_map(|dy| {
            let columns = if dy == 0.0 {
                [gap, -gap - width, gap]
            } else {
                [-width / 2.0, 2.0, -width - 2.0]
            };
            columns.into_iter().map(move |dx| (x + dx, y + dy))
        });
        let free = candidates
            .map(|(left, middle)| {
                let rect = Rect {
                    left: left - 1.0,
                    top: middle - half,
                    right: left + width + 1.0,
                    bottom: middle + half,
                };
                ((left, middle), rect)
            })
            .find(|(_, r)| r.inside(&bounds) && !taken.iter().any(|t| t.overlaps(r)));
        places.push(free.map(|(at, rect)| {
            taken.push(rect);
            at
        }));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_overlap_each_other_or_a_point() {
        let bounds = Rect { left: 0.0, top: 0.0, right: 400.0, bottom: 300.0 };
        let points: Vec<(f64, f64)> = (0..40)
            .map(|i| (f64::from(i * 37 % 380) + 10.0, f64::from(i * 53 % 280) + 10.0))
            .collect();
        let wanted: Vec<Wanted> =
            points.iter().map(|&at| Wanted { at, radius: 6.0, text: "Q4_K_M" }).collect();
        let places = place(&wanted, &[], bounds);
        let half = f64::from(FONT) * 0.6;
        let rects: Vec<Rect> = places
            .iter()
            .flatten()
            .map(|&(left, y)| Rect {
                left,
                top: y - half,
                right: left + text_width("Q4_K_M"),
                bottom: y + half,
            })
            .collect();
        assert!(rects.len() > 15, "{} of 40 placed", rects.len());
        for (i, r) in rects.iter().enumerate() {
            assert!(r.inside(&bounds));
            assert!(rects[i + 1..].iter().all(|o| !r.overlaps(o)));
            assert!(points.iter().all(|&p| !r.overlaps(&Rect::around(p, 5.0))));
        }
    }
}
