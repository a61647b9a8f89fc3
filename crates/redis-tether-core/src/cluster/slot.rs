//! The slot of a key: CRC16 (XMODEM) of the key, or of what stands between its first `{` and the next `}`, if anything does.

/// How many slots every cluster has.
pub const SLOTS: u16 = 16384;

/// One of the 16384 parts into which a cluster divides its keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u16);

impl Slot {
    /// The slot of this number, if there is one.
    #[must_use]
    pub fn new(number: u16) -> Option<Slot> {
        (number < SLOTS).then_some(Slot(number))
    }

    /// The slot that this key is in.
    #[must_use]
    pub fn of(key: &[u8]) -> Slot {
        Slot(crc16(hash_tag(key).unwrap_or(key)) % SLOTS)
    }

    /// Its number, below [`SLOTS`].
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')? + 1;
    let length = key[open..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then(|| &key[open..open + length])
}

const POLYNOMIAL: u16 = 0x1021;

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    /// What `CLUSTER KEYSLOT` says.
    #[test]
    fn slots_are_those_of_the_servers() {
        for (key, slot) in [("a", 15495), ("b", 3300), ("foo", 12182), ("", 0), ("{b}1", 3300), ("foo{}{bar}", 8363)] {
            assert_eq!(Slot::of(key.as_bytes()).number(), slot, "{key}");
        }
        assert_eq!(Slot::of(b"{user1000}.following"), Slot::of(b"user1000"));
        assert_eq!(Slot::of(b"foo{{bar}}zap"), Slot::of(b"{bar"));
        assert_ne!(Slot::of(b"foo{}bar"), Slot::of(b"foo{}baz"));
    }
}
