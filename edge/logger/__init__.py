"""Where the results of a fleet are kept: `leukoscope log` takes them from the broker and stores them in a database
or a file, `leukoscope results` answers questions about them.

`subscriber` connects and hands what comes to `inbox`; `writer` takes it from there, checks it and stores it in a
`sink` (`sql_sink`, `file_sink`). It may import `records`, `mqtt`, `host`, `errors` and `notice`; only `cli` and
`demo` import it.
"""
