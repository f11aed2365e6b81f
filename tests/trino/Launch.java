import java.io.IOException;

/** Trino's server of the version that is said. It ends with its standard input, should who started it be killed. */
public final class Launch {
    private Launch() {}

    public static void main(String[] arguments) {
        Thread watch = new Thread(Launch::endWithInput, "end-with-input");
        watch.setDaemon(true);
        watch.start();
        new io.trino.server.Server().start(arguments[0]);
    }

    private static void endWithInput() {
        try {
            while (System.in.read() >= 0) {}
        } catch (IOException gone) {
            // As good as its end.
        }
        Runtime.getRuntime().halt(0);
    }
}
