use super::*;

#[test]
fn airgap_10_joined_and_repeated_challenges_give_the_same_schemes() {
    let all = |values: &[&str]| values.iter().flat_map(|value| schemes(value)).collect::<Vec<_>>();
    assert_eq!(all(&["Negotiate, Basic realm=\"a, b\""]), ["Negotiate", "Basic"]);
    assert_eq!(all(&["Negotiate", " Basic realm=\"x\""]), ["Negotiate", "Basic"]);
    assert_eq!(all(&["Digest realm=\"x\", nonce=\"y\", qop = auth", "NTLM"]), ["Digest", "NTLM"]);
    assert_eq!(all(&[""]), Vec::<String>::new());
}

#[test]
fn an_answer_to_connect_is_read_leniently() {
    let parse = |text: &str| Answer::parse(text.as_bytes()).map(|answer| (answer.status, answer.phrase));
    assert_eq!(parse("HTTP/1.1 200 Connection established\r\n\r\n"), Some((200, "Connection established".to_owned())));
    assert_eq!(parse("HTTP/1.0 201\n\n"), Some((201, String::new())));
    assert_eq!(parse("SSH-2.0-OpenSSH\r\n"), None);
    assert_eq!(parse("HTTP/1.1 abc\r\n\r\n"), None);
    assert_eq!(parse("HTTP/1.1 7 x\r\n\r\n"), None);
}
