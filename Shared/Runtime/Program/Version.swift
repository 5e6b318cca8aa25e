/// The version of all programs; they are built and released together.
public enum Version {
    public static let current = "0.1.0"
}
