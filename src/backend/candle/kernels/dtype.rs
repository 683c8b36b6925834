//! The GGUF storage types the engine computes with: block shapes and ids, nothing else.

/// A storage type of a weight matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(non_camel_case_types, reason = "the names are GGUF's own")]
pub enum Dtype {
    F32,
    F16,
    BF16,
    Q8_0,
    Q6_K,
    Q5_K,
    Q5_1,
    Q5_0,
    Q4_K,
    Q4_1,
    Q4_0,
    Q3_K,
    Q2_K,
}

impl Dtype {
    /// Every type, widest first.
    pub const ALL: &'static [Dtype] = &[
        Dtype::F32,
        Dtype::F16,
        Dtype::BF16,
        Dtype::Q8_0,
        Dtype::Q6_K,
        Dtype::Q5_K,
        Dtype::Q5_1,
        Dtype::Q5_0,
        Dtype::Q4_K,
        Dtype::Q4_1,
        Dtype::Q4_0,
        Dtype::Q3_K,
        Dtype::Q2_K,
    ];

    /// GGUF spelling.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::Q8_0 => "Q8_0",
            Dtype::Q6_K => "Q6_K",
            Dtype::Q5_K => "Q5_K",
            Dtype::Q5_1 => "Q5_1",
            Dtype::Q5_0 => "Q5_0",
            Dtype::Q4_K => "Q4_K",
            Dtype::Q4_1 => "Q4_1",
            Dtype::Q4_0 => "Q4_0",
            Dtype::Q3_K => "Q3_K",
            Dtype::Q2_K => "Q2_K",
        }
    }

    /// The type with this GGUF spelling; `None` where the engine does not compute with it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.name() == name)
    }

    /// Elements a block; a row is a whole number of blocks.
    pub fn block_len(self) -> usize {
        match self {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => 1,
            Dtype::Q8_0 | Dtype::Q5_1 | Dtype::Q5_0 | Dtype::Q4_1 | Dtype::Q4_0 => 32,
            Dtype::Q6_K | Dtype::Q5_K | Dtype::Q4_K | Dtype::Q3_K | Dtype::Q2_K => 256,
        }
    }

    /// Bytes a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::Q8_0 => 34,
            Dtype::Q6_K => 210,
            Dtype::Q5_K => 176,
            Dtype::Q5_1 => 24,
            Dtype::Q5_0 => 22,
            Dtype::Q4_K => 144,
            Dtype::Q4_1 => 20,
            Dtype::Q4_0 => 18,
            Dtype::Q3_K => 110,
            Dtype::Q2_K => 84,
        }
    }

    /// Bytes of a row of `cols` elements; `None` where it is not a whole number of blocks or overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        (cols.is_multiple_of(self.block_len()))
            .then(|| (cols / self.block_len()).checked_mul(self.block_bytes()))
            .flatten()
    }
}
