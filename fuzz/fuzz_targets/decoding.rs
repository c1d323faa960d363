//! What every decoder has to keep, whatever the bytes are: no panic, and what it lets through can be
//! trusted. Included by the targets of the decoders.

use tidegauge_model::{BatchRef, Host, Name, ValueRef};
use tidegauge_wire::{DecodeContext, Encoding, ForeignSettings};

pub fn decode(encoding: &dyn Encoding, bytes: &[u8]) {
    let with_default = ForeignSettings {
        default_host: Some(Host::new("default").expect("valid")),
        ..ForeignSettings::default()
    };
    for foreign in [&ForeignSettings::default(), &with_default] {
        let context = DecodeContext {
            foreign,
            received_us: Some(1),
        };
        check(encoding, bytes, context);
    }
}

fn check(encoding: &dyn Encoding, bytes: &[u8], context: DecodeContext<'_>) {
    let mut batch = BatchRef::default();
    if let Err(error) = encoding.decode_in(bytes, context, &mut batch) {
        assert!(error.at.byte <= bytes.len(), "{error}");
        assert!(error.to_string().len() < 1_000, "{error}");
        return;
    }
    let hosts: Vec<&str> = batch.hosts().collect();
    assert!(hosts.iter().all(|host| Host::check(host).is_ok()));
    for point in batch.points() {
        assert!((point.host as usize) < hosts.len() && !point.fields.is_empty());
        assert!(Name::check(point.measurement).is_ok());
        for (at, (name, text)) in point.tags.iter().enumerate() {
            assert!(Name::check(name).is_ok() && !text.contains('\0'));
            assert!(point.tags[..at].iter().all(|(known, _)| known != name));
        }
        for (at, (name, value)) in point.fields.iter().enumerate() {
            assert!(Name::check(name).is_ok());
            assert!(point.fields[..at].iter().all(|(known, _)| known != name));
            match value {
                ValueRef::Float(number) => assert!(number.is_finite()),
                ValueRef::Text(text) => assert!(!text.contains('\0')),
                ValueRef::Bool(_) => {}
            }
        }
    }
    for rejected in &batch.rejected {
        assert!(rejected.detail.len() < 1_000, "{}", rejected.detail);
    }
    // Of ours, what was read can be written, and is read again as the same.
    let (Some(encoder), Ok(owned)) = (encoding.encoder(), batch.to_batch()) else {
        return;
    };
    let mut written = Vec::new();
    encoder.encode(&owned, &mut written);
    let mut again = BatchRef::default();
    encoding.decode(&written, &mut again).expect("our own message");
    assert!(again.rejected.is_empty());
    assert_eq!(again.to_batch().as_ref(), Ok(&owned));
}
