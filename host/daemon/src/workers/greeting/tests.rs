use super::*;
use crate::workers::scripted::{device, hello};

fn greeting(hello: Hello, devices: Vec<Served>) -> Result<(Hello, Vec<Served>), GreetError> {
    let (link, other) = Link::pair().unwrap();
    std::thread::spawn(move || {
        other.receive::<Request>().unwrap();
        // Whoever has heard enough hangs up.
        let _ = other.send(&Report::Hello(hello), &[]);
        for device in devices {
            let _ = other.send(&Report::Device(Box::new(device)), &[]);
        }
    });
    greet(&link, Duration::from_secs(20))
}

#[test]
fn a_greeting_has_bounds() {
    let many = Hello { devices: u32::MAX, ..hello("acme") };
    assert!(matches!(greeting(many, Vec::new()), Err(GreetError::TooLong)));
    let long = device(0, &"x".repeat(100_000), Vec::new());
    let devices = vec![long; 400];
    let said = Hello { devices: 400, ..hello("acme") };
    assert!(matches!(greeting(said, devices), Err(GreetError::TooLong)));
    let odd =
        Hello { build: "a\nb".to_owned(), jail: vec!["c\td".to_owned(); 1000], devices: 1, ..hello("acme") };
    let (heard, devices) = greeting(odd, vec![device(0, "x", Vec::new())]).unwrap();
    assert_eq!((heard.build.as_str(), heard.jail.len(), heard.jail[0].as_str()), ("a b", MOST_WORDS, "c d"));
    assert_eq!(devices.len(), 1);
}
