//! Quality of a precision as measured elsewhere: public perplexities and benchmark scores, fitted over model size.
//!
//! One number a precision: the share of the 16-bit model's quality that is kept, in percent. From perplexity it is
//! `ppl(16 bit) / ppl`, from a benchmark `score / score(16 bit)`. Log-loss is fitted as precision + slope * ln(size);
//! the interval is the residuals' spread.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Serialize;

use crate::model::Precision;

const EMBEDDED: &str = include_str!("../../data/quant_quality.csv");
/// Smallest loss told apart from none: the spread of two 16-bit formats (BF16 against F16).
const FLOOR: f64 = 0.0004;
/// Smaller losses are mostly the noise of their benchmark: they set no slope and no spread.
const TELLING: f64 = 0.005;
/// 5 % and 95 % quantiles of a normal distribution.
const Z90: f64 = 1.645;

/// Share of the 16-bit model's quality kept, percent, with a 90 % interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Quality {
    pub kept: f64,
    pub low: f64,
    pub high: f64,
    /// `measured elsewhere` or `measured here`, with how many rows or what.
    pub basis: String,
}

/// The fitted table.
#[derive(Debug, Clone)]
pub struct QualityTable {
    /// ln(loss) at 8 billion parameters, spread of residuals, rows.
    fits: BTreeMap<Precision, (f64, f64, u32)>,
    /// Change of ln(loss) with ln(parameters / 8e9).
    slope: f64,
}

struct Row {
    precision: Precision,
    ln_size: f64,
    ln_loss: f64,
    /// LLaMA 1 and 2 saw few tokens a parameter and lose two to four times less than newer models.
    old: bool,
}

impl QualityTable {
    /// Fitted on the public rows in the binary.
    pub fn embedded() -> &'static QualityTable {
        static FITTED: OnceLock<QualityTable> = OnceLock::new();
        FITTED.get_or_init(|| QualityTable::fit(EMBEDDED))
    }

    fn fit(csv_text: &str) -> Self {
        let rows = read(csv_text);
        let mut groups: BTreeMap<Precision, Vec<&Row>> = BTreeMap::new();
        for r in &rows {
            let newer = rows.iter().any(|o| o.precision == r.precision && !o.old);
            if !(r.old && newer) {
                groups.entry(r.precision).or_default().push(r);
            }
        }
        // Slope within precisions, so that differences between precisions do not leak into it.
        let (mut sxy, mut sxx) = (0.0, 0.0);
        let telling = |r: &&&Row| r.ln_loss > TELLING.ln();
        for g in groups.values() {
            let g: Vec<&&Row> = g.iter().filter(telling).collect();
            let (mx, my) = (mean(g.iter().map(|r| r.ln_size)), mean(g.iter().map(|r| r.ln_loss)));
            for r in g {
                sxy += (r.ln_size - mx) * (r.ln_loss - my);
                sxx += (r.ln_size - mx).powi(2);
            }
        }
        // Larger models never lose more: a positive slope would be noise.
        let slope = if sxx > 0.0 { (sxy / sxx).min(0.0) } else { 0.0 };
        let mut fits = BTreeMap::new();
        let mut all_residuals = Vec::new();
        for (&p, g) in &groups {
            let a = mean(g.iter().map(|r| r.ln_loss - slope * r.ln_size));
            let residuals = g.iter().filter(telling).map(|r| r.ln_loss - slope * r.ln_size - a);
            all_residuals.extend(residuals);
            fits.insert(p, (a, 0.0, g.len() as u32));
        }
        let pooled = (mean(all_residuals.iter().map(|r| r * r))).sqrt();
        for (p, g) in &groups {
            if let Some(fit) = fits.get_mut(p) {
                // Few rows say little about their own spread: shrink towards the pooled one.
                let own = mean(g.iter().map(|r| (r.ln_loss - slope * r.ln_size - fit.0).powi(2)));
                let n = g.len() as f64;
                fit.1 =
                    ((n * own + 4.0 * pooled * pooled) / (n + 4.0)).sqrt() * (1.0 + 1.0 / n).sqrt();
            }
        }
        Self { fits, slope }.monotone()
    }

    /// Among the K-quant recipes more bits never lose more (pool adjacent violators).
    fn monotone(mut self) -> Self {
        use Precision::{Q2_K, Q3_K_L, Q3_K_M, Q3_K_S, Q4_K_M, Q4_K_S, Q5_K_M, Q5_K_S, Q6_K, Q8_0};
        let ladder: Vec<Precision> =
            [Q2_K, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K, Q8_0]
                .into_iter()
                .filter(|p| self.fits.contains_key(p))
                .collect();
        let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
        for p in &ladder {
            let (a, _, n) = self.fits[p];
            blocks.push((a, f64::from(n), 1));
            while let [.., x, y] = blocks.as_slice() {
                if x.0 >= y.0 {
                    break;
                }
                let merged = ((x.0 * x.1 + y.0 * y.1) / (x.1 + y.1), x.1 + y.1, x.2 + y.2);
                blocks.truncate(blocks.len() - 2);
                blocks.push(merged);
            }
        }
        let values = blocks.iter().flat_map(|b| std::iter::repeat_n(b.0, b.2));
        for (p, a) in ladder.iter().zip(values) {
            if let Some(fit) = self.fits.get_mut(p) {
                fit.0 = a;
            }
        }
        self
    }

    /// Quality kept at a precision by a model of `parameters`.
    ///
    /// `None` where nothing public covers the precision or one with the same arithmetic.
    pub fn estimate(&self, precision: Precision, parameters: u64) -> Option<Quality> {
        if matches!(precision, Precision::F32 | Precision::F16 | Precision::BF16) {
            let basis = "16-bit and wider are the reference".to_owned();
            return Some(Quality { kept: 100.0, low: 99.9, high: 100.0, basis });
        }
        let (known, extra, note) = match self.fits.contains_key(&precision) {
            true => (precision, 0.0, String::new()),
            false => {
                let like = like(precision)?;
                (like, 0.35, format!(" of {like}, which has the same arithmetic"))
            }
        };
        let &(a, sd, n) = self.fits.get(&known)?;
        let ln_size = (parameters.max(1) as f64 / 8e9).ln().clamp(-4.5, 3.0);
        // Far from the sizes that were measured the fit says less.
        let far = (ln_size.abs() - 2.8).max(0.0) * 0.3;
        let sd = (sd * sd + extra * extra + far * far).sqrt();
        let ln_loss = a + self.slope * ln_size;
        let kept = |x: f64| 100.0 * (-x.exp()).exp();
        Some(Quality {
            kept: kept(ln_loss),
            low: kept(ln_loss + Z90 * sd),
            high: kept(ln_loss - Z90 * sd),
            basis: format!("measured elsewhere: {n} public rows{note}, scaled to this size"),
        })
    }
}

/// The covered precision with the same block arithmetic, nearest in bits.
fn like(p: Precision) -> Option<Precision> {
    use Precision as P;
    Some(match p {
        P::Int8 | P::Int8Sym | P::Int8Asym | P::Int8DynamicPerChannel | P::Mxfp8 => P::Q8_0,
        P::MlxQ8G32 | P::MlxQ8G128 => P::MlxQ8G64,
        P::MlxQ6G32 | P::MlxQ6G128 => P::MlxQ6G64,
        P::MlxQ5G32 | P::MlxQ5G128 => P::MlxQ5G64,
        // Activations in 8 bits as well: no public row, the weight-only figure would flatter them.
        P::Int8Dynamic | P::Int8Static | P::A8W8 | P::A16W8 => P::Q6_K,
        P::Int4SymG32 | P::Int4Rtn | P::Nf4 | P::Nvfp4 | P::Mxfp4 | P::Int4Hqq => P::Q4_0,
        P::Int4AsymG32 | P::Int4AsymG64 | P::Int4AsymG128 | P::MlxQ4G128 => P::MlxQ4G64,
        P::Int4SymG64 | P::Int4SymG128 | P::A16W4 => P::Q4_0,
        P::Int4SymPerChannel | P::Int4AsymPerChannel => P::Q3_K_M,
        P::Int4KQuant | P::Int4Mixed | P::MlxMixed => P::Q4_K_S,
        P::MlxQ3G32 | P::MlxQ3G64 | P::MlxQ3G128 | P::MlxMixed36 => P::Q3_K_S,
        P::MlxQ2G32 | P::MlxQ2G64 | P::MlxQ2G128 | P::MlxMixed26 => P::IQ2_XXS,
        P::TQ1_0 => P::IQ1_M,
        P::TQ2_0 => P::IQ2_XXS,
        _ => return None,
    })
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u32), |(s, n), v| (s + v, n + 1));
    if n == 0 { 0.0 } else { sum / f64::from(n) }
}

/// Rows as losses against the same table's reference: F16, or Q8_0 where a table has no 16-bit row.
fn read(text: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().cloned().unwrap_or_default();
    let col = |name: &str| headers.iter().position(|h| h == name);
    let (Some(model), Some(quant), Some(ppl), Some(value), Some(source), Some(imatrix)) = (
        col("model"),
        col("quant"),
        col("perplexity"),
        col("other_value"),
        col("source"),
        col("imatrix"),
    ) else {
        return Vec::new();
    };
    let records: Vec<csv::StringRecord> = reader.records().flatten().collect();
    let cell = |r: &csv::StringRecord, i: usize| r.get(i).unwrap_or_default().to_owned();
    let score = |r: &csv::StringRecord| -> Option<(bool, f64)> {
        match cell(r, ppl).parse::<f64>() {
            Ok(p) => Some((true, p)),
            Err(_) => cell(r, value).parse().ok().map(|v| (false, v)),
        }
    };
    let mut rows = Vec::new();
    for r in &records {
        let (Some((is_ppl, v)), Some(p)) = (score(r), precision(&cell(r, quant))) else { continue };
        // Importance matrices are what published low-bit files use; extreme calibration sizes are variations of one.
        let weights = cell(r, imatrix);
        if weights.starts_with("WT 1k") || weights.starts_with("WT 100k") || weights == "WT 10k" {
            continue;
        }
        let same = |s: &&csv::StringRecord| {
            cell(s, model) == cell(r, model)
                && cell(s, source).get(..30) == cell(r, source).get(..30)
        };
        let reference = |names: &[&str]| {
            records.iter().filter(same).find_map(|s| {
                names.contains(&cell(s, quant).to_lowercase().as_str()).then(|| score(s)).flatten()
            })
        };
        let Some((_, base)) = reference(&["f16", "fp16", "bf16", "mlx-bf16", "onnx-fp16"])
            .or_else(|| reference(&["q8_0"]))
            .filter(|(k, _)| *k == is_ppl)
        else {
            continue;
        };
        let name = cell(r, model);
        let Some(size) = size_b(&name) else { continue };
        let old = name.starts_with("LLaMA-1") || name.starts_with("Llama-2");
        let loss = if is_ppl { (v / base).ln() } else { (base / v).ln() };
        if p == Precision::F16 || !loss.is_finite() {
            continue;
        }
        rows.push(Row {
            precision: p,
            ln_size: (size / 8.0).ln(),
            ln_loss: loss.max(FLOOR).ln(),
            old,
        });
    }
    rows
}

/// The public tables' spellings.
fn precision(quant: &str) -> Option<Precision> {
    let q = quant.to_lowercase();
    Some(match q.as_str() {
        "fp16" | "bf16" | "mlx-bf16" | "onnx-fp16" => Precision::F16,
        "gptq-int8" => Precision::Int8Sym,
        "gptq-int4" | "awq" | "onnx-int4-awq" => Precision::Int4AsymG128,
        "mlx-q8" => Precision::MlxQ8G64,
        "mlx-q6" => Precision::MlxQ6G64,
        "mlx-q5" => Precision::MlxQ5G64,
        "mlx-q4" => Precision::MlxQ4G64,
        "mlx-q4 g32" => Precision::MlxQ4G32,
        _ => q.parse().ok()?,
    })
}

/// `Llama-3-8B` is 8, `Qwen3-30B-A3B` is 30.
fn size_b(model: &str) -> Option<f64> {
    if model.starts_with("Phi3.5-mini") {
        return Some(3.8);
    }
    model.split('-').find_map(|w| {
        let w = w.strip_prefix("Llama3.1").unwrap_or(w);
        w.strip_suffix(['B', 'b'])?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(p: Precision, billions: f64) -> Quality {
        QualityTable::embedded().estimate(p, (billions * 1e9) as u64).unwrap()
    }

    #[test]
    fn more_bits_keep_more_quality() {
        use Precision::*;
        let ladder = [Q2_K, Q3_K_M, Q4_K_M, Q5_K_M, Q6_K, Q8_0, F16];
        for pair in ladder.windows(2) {
            assert!(kept(pair[0], 8.0).kept <= kept(pair[1], 8.0).kept, "{pair:?}");
        }
    }

    #[test]
    fn figures_of_an_8b_model_are_near_the_published_ones() {
        let q4 = kept(Precision::Q4_K_M, 8.0);
        assert!((96.0..99.5).contains(&q4.kept), "{q4:?}");
        assert!(q4.low < 97.3 && q4.high > 97.3, "Llama-3-8B keeps 97.3 %: {q4:?}");
        let q8 = kept(Precision::Q8_0, 8.0);
        assert!(q8.kept > 99.5, "{q8:?}");
        let q2 = kept(Precision::Q2_K, 8.0);
        assert!((60.0..92.0).contains(&q2.kept), "{q2:?}");
    }

    #[test]
    fn small_models_lose_more_and_intervals_contain_their_value() {
        assert!(kept(Precision::Q4_0, 0.5).kept < kept(Precision::Q4_0, 70.0).kept);
        for &p in Precision::ALL {
            if let Some(q) = QualityTable::embedded().estimate(p, 1_000_000_000) {
                assert!(q.low <= q.kept && q.kept <= q.high && q.high <= 100.0, "{p}: {q:?}");
            }
        }
    }
}
