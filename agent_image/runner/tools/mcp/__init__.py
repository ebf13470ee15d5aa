"""Tools of MCP servers: programs that the runner starts and speaks to over their standard input and output.

`MCP_SERVERS` names a JSON file in the format that other MCP clients read, too:

    {"mcpServers": {"files": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/srv"],
                              "env": {"NODE_ENV": "production"}, "approval": true}}}

Its tool `read_file` is offered to models as `files_read_file`.
"""
