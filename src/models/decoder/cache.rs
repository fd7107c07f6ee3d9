//! Keys and values of the tokens a decoder has read, so that the next token costs one position.

use anyhow::{Result, ensure};
use tch::Tensor;

/// Per layer keys (after their rotation) and values `[B, KV, capacity, head]`; the first `len` positions are filled.
pub struct KvCache {
    layers: Vec<Option<(Tensor, Tensor)>>,
    capacity: i64,
    len: i64,
}

impl KvCache {
    /// For `capacity` tokens a row. Its memory is taken when the first token is read.
    pub fn new(layers: usize, capacity: i64) -> KvCache {
        KvCache { layers: (0..layers).map(|_| None).collect(), capacity, len: 0 }
    }

    /// Tokens read so far.
    pub fn len(&self) -> i64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn room(&self, tokens: i64) -> Result<()> {
        let (len, capacity) = (self.len, self.capacity);
        ensure!(
            len + tokens <= capacity,
            "the cache holds {len} of {capacity} tokens, there is no room for {tokens} more"
        );
        Ok(())
    }

    /// Appends a layer's new keys and values `[B, KV, t, head]`; returns all of them, `[B, KV, len + t, head]`.
    pub(super) fn append(&mut self, layer: usize, k: &Tensor, v: &Tensor) -> (Tensor, Tensor) {
        let (batch, heads, t, width) = k.size4().expect("keys have four dimensions");
        let empty = || k.new_empty([batch, heads, self.capacity, width], (k.kind(), k.device()));
        let (keys, values) = self.layers[layer].get_or_insert_with(|| (empty(), empty()));
        keys.narrow(2, self.len, t).copy_(&k.detach());
        values.narrow(2, self.len, t).copy_(&v.detach());
        (keys.narrow(2, 0, self.len + t), values.narrow(2, 0, self.len + t))
    }

    /// All layers have read `tokens` more.
    pub(super) fn advance(&mut self, tokens: i64) {
        self.len += tokens;
    }
}
