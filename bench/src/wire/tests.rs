use super::*;

const ALL: [Wire; 5] = [Wire::Echo, Wire::Hub, Wire::Nats, Wire::Mqtt, Wire::Redis];

#[test]
fn a_cut_unit_is_incomplete() {
    let inputs: [(Wire, &[u8]); 5] = [
        (Wire::Echo, b"\0\0\0\x0amessage hi"),
        (Wire::Hub, b"\0\0\0\x0c\x85\0\0\0\0\0\0\0\x05mhi"),
        (Wire::Nats, b"MSG 12 1 3\r\nmhi\r\n"),
        (Wire::Mqtt, b"\x30\x07\0\x0212mhi"),
        (Wire::Redis, b">3\r\n$7\r\nmessage\r\n$2\r\n12\r\n$3\r\nmhi\r\n"),
    ];
    for (wire, input) in inputs {
        for cut in 0..input.len() {
            assert_eq!(wire.decode(&input[..cut]).unwrap(), None, "{wire:?} {cut}");
        }
        let whole = Some((input.len(), Incoming::Message(b"hi")));
        assert_eq!(wire.decode(input).unwrap(), whole, "{wire:?}");
    }
}

#[test]
fn published_payloads_are_well_formed() {
    let encoded = |wire: Wire| {
        let mut output = Vec::new();
        wire.ok(107, b"hi", &mut output);
        output
    };
    let outputs = ALL.map(encoded);
    let expected: [&[u8]; 5] = [
        b"\0\0\0\x05ok hi",
        b"\0\0\0\x0d\x04\x01\0\0\0\0\0\0\0\x6bohi",
        b"PUB 107 3\r\nohi\r\n",
        b"\x30\x08\0\x03107ohi",
        b"*3\r\n$7\r\nPUBLISH\r\n$3\r\n107\r\n$3\r\nohi\r\n",
    ];
    assert_eq!(outputs.each_ref().map(Vec::as_slice), expected);
}

#[test]
fn a_connection_is_ready_once_the_server_says_so() {
    let answers: [(Wire, &[u8]); 3] = [
        (Wire::Nats, b"INFO {}\r\nPONG\r\n"),
        (Wire::Mqtt, b"\x20\x02\0\0\x90\x03\0\x01\0"),
        (
            Wire::Redis,
            b"%2\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:9\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\n7\r\n:1\r\n",
        ),
    ];
    for (wire, mut input) in answers {
        let mut last = Incoming::Nothing;
        while let Some((used, incoming)) = wire.decode(input).unwrap() {
            assert_ne!(last, Incoming::Ready, "{wire:?} said it before the end");
            input = &input[used..];
            last = incoming;
        }
        assert_eq!((last, input), (Incoming::Ready, &b""[..]), "{wire:?}");
    }
}

#[test]
fn lengths_of_many_bytes_are_read_back() {
    let x = vec![7; 20_000];
    let mut output = Vec::new();
    mqtt::publish(9, MESSAGE, &x, &mut output);
    assert_eq!(
        Wire::Mqtt.decode(&output).unwrap(),
        Some((output.len(), Incoming::Message(&x)))
    );
}

#[test]
fn errors_of_a_server_are_not_taken_for_answers() {
    let errors: [(Wire, &[u8]); 5] = [
        (Wire::Echo, b"\0\0\0\x0aerror busy"),
        (Wire::Hub, b"\0\0\0\x03\xffno"),
        (Wire::Nats, b"-ERR 'Slow Consumer'\r\n"),
        (Wire::Mqtt, b"\x20\x02\0\x05"),
        (Wire::Redis, b"-ERR unknown command\r\n"),
    ];
    for (wire, input) in errors {
        assert!(wire.decode(input).is_err(), "{wire:?}");
    }
}
