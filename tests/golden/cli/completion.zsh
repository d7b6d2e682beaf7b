#compdef mayfly
# zsh completion for mayfly: mayfly completion zsh > "${fpath[1]}/_mayfly"
_mayfly() {
  local word_path='' i depth=0
  for ((i = 2; i < CURRENT; i++)); do
    case "${word_path:+$word_path }${words[i]}" in
      ('up'|'run'|'test'|'down'|'extend'|'restart'|'get'|'list'|'logs'|'events'|'watch'|'report'|'exec'|'port-forward'|'plan'|'lint'|'schema'|'explain'|'init'|'doctor'|'server'|'server status'|'server stop'|'version'|'completion') word_path="${word_path:+$word_path }${words[i]}" depth=$((i - 1)) ;;
    esac
  done
  # The verb takes the place of the command, as _arguments expects it.
  shift $depth words
  (( CURRENT -= depth ))
  case "$word_path" in
    '')
      local -a commands=('up:make the environment, or bring it up to date, and wait until it is usable' 'run:up, test, report, down\: the verdict is the exit code' 'test:run test jobs in an environment that is up' 'down:remove the environment and everything in it' 'extend:give an environment more time to live' 'restart:restart services in place, in order' 'get:show one environment\: nodes, URLs, cause' 'list:list environments' 'logs:print what services wrote' 'events:print what happened, a line each' 'watch:follow an environment until it is gone' 'report:print the report of an environment, also after it is gone' 'exec:run a command beside a service\: mayfly exec SERVICE -- COMMAND...' 'port-forward:a port of a service on this machine\: mayfly port-forward SERVICE LOCAL\:REMOTE' 'plan:print what would happen, and why' 'lint:check the specs without a server' 'schema:print the JSON Schema of service.yml or envspec.yml, for editors' 'explain:print a service as merged, with the origin of every value' 'init:write a first service.yml from what is in a folder' 'doctor:what this host can and cannot do, and how to mend it' 'server:the server that mayfly started for you' 'version:print the version' 'completion:print shell completion\: bash, zsh or fish')
      _describe -t commands command commands
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--version[print the version]'
      ;;
    'up')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--ttl=[how long it lives, such as 2h]:value:' \
        '--profile=[one of the envspec'\''s profiles]:value:' \
        '--set=[a variable, over the specs'\''; may be repeated]:value:' \
        '--env-file=[file of KEY=VALUE lines; --set wins]:path:_files' \
        '--secret=[a secret; without a value it is taken from the variable of that name]:value:' \
        '--label=[what it is for; may be repeated. CI gives pr, commit and branch by itself]:value:' \
        '--replay=[make NAME, which may be deleted, again as it was]:value:' \
        '--no-wait[return once it is accepted]' \
        '--timeout=[wait at most this long, then exit with 124]:value:' \
        '--on-interrupt=[what Ctrl-C and SIGTERM leave behind\: keep or down]:value:(keep down)' \
        '*:word:_files'
      ;;
    'run')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--ttl=[how long it lives, such as 2h]:value:' \
        '--profile=[one of the envspec'\''s profiles]:value:' \
        '--set=[a variable, over the specs'\''; may be repeated]:value:' \
        '--env-file=[file of KEY=VALUE lines; --set wins]:path:_files' \
        '--secret=[a secret; without a value it is taken from the variable of that name]:value:' \
        '--label=[what it is for; may be repeated. CI gives pr, commit and branch by itself]:value:' \
        '--test=[only this test job; may be repeated]:value:' \
        '--keep-on-failure[leave the environment for a look unless it passed]' \
        '--report-dir=[folder for the reports and what the test jobs left]:path:_files' \
        '--junit=[file for all results as JUnit XML]:path:_files' \
        '--no-wait[return once it is accepted]' \
        '--timeout=[wait at most this long, then exit with 124]:value:' \
        '--on-interrupt=[what Ctrl-C and SIGTERM leave behind\: keep or down]:value:(keep down)' \
        '*:word:_files'
      ;;
    'test')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--report-dir=[folder for the reports and what the test jobs left]:path:_files' \
        '--junit=[file for all results as JUnit XML]:path:_files' \
        '--no-wait[return once it is accepted]' \
        '--timeout=[wait at most this long, then exit with 124]:value:' \
        '--on-interrupt=[what Ctrl-C and SIGTERM leave behind\: keep or down]:value:(keep down)' \
        '*:word:_files'
      ;;
    'down')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--graceful[stop services in order, with their signals, before removing]' \
        '--all[every environment]' \
        '--no-wait[return once it is accepted]' \
        '--wait=[until everything has ended (released, the default), or until the cluster has forgotten it, too (gone)]:value:(released gone)' \
        '--timeout=[wait at most this long, then exit with 124]:value:' \
        '*:word:_files'
      ;;
    'extend')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--ttl=[how long from now, such as 2h; default\: an hour more than it has]:value:' \
        '*:word:_files'
      ;;
    'restart')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--no-wait[return once it is accepted]' \
        '--timeout=[wait at most this long, then exit with 124]:value:' \
        '--on-interrupt=[what Ctrl-C and SIGTERM leave behind\: keep or down]:value:(keep down)' \
        '*:word:_files'
      ;;
    'get')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '*:word:_files'
      ;;
    'list')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--filter=[such as state=ACTIVE AND name=shop*]:value:' \
        '--label=[only those with this label; may be repeated]:value:' \
        '--all[the deleted ones, too]' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '*:word:_files'
      ;;
    'logs')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--follow[go on as more comes]' \
        '-f[go on as more comes]' \
        '--tail=[only the last N lines of each]:value:' \
        '--since=[only what is younger, such as 5m]:value:' \
        '--raw[bytes as they were written, control characters included]' \
        '*:word:_files'
      ;;
    'events')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--follow[go on as more happens]' \
        '--timeout=[with --follow\: at most this long]:value:' \
        '*:word:_files'
      ;;
    'watch')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--timeout=[at most this long, then exit with 124]:value:' \
        '*:word:_files'
      ;;
    'report')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--uid=[of an earlier environment of that name\: `mayfly list --all -o json`]:value:' \
        '--report-dir=[folder for the reports and what the test jobs left]:path:_files' \
        '--junit=[file for all results as JUnit XML]:path:_files' \
        '*:word:_files'
      ;;
    'exec')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--no-terminal[plain pipes, also on a terminal]' \
        '-T[plain pipes, also on a terminal]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '*:word:_files'
      ;;
    'port-forward')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '*:word:_files'
      ;;
    'plan')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '--name=[name of the environment]:value:' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--ttl=[how long it lives, such as 2h]:value:' \
        '--profile=[one of the envspec'\''s profiles]:value:' \
        '--set=[a variable, over the specs'\''; may be repeated]:value:' \
        '--env-file=[file of KEY=VALUE lines; --set wins]:path:_files' \
        '--secret=[a secret; without a value it is taken from the variable of that name]:value:' \
        '--label=[what it is for; may be repeated. CI gives pr, commit and branch by itself]:value:' \
        '--test=[only this test job; may be repeated]:value:' \
        '*:word:_files'
      ;;
    'lint')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '*:word:_files'
      ;;
    'schema')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '*:word:_files'
      ;;
    'explain')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--file=[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '-f[a folder, envspec.yml or service.yml; default\: the nearest upwards]:path:_files' \
        '*:word:_files'
      ;;
    'init')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '*:word:_files'
      ;;
    'doctor')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '*:word:_files'
      ;;
    'server')
      local -a commands=('status:whether it runs' 'stop:stop it; environments live on')
      _describe -t commands command commands
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]'
      ;;
    'server status')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '*:word:_files'
      ;;
    'server stop')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '--engine=[where environments run\: local, or kubernetes for the cluster of your kubeconfig]:value:' \
        '--state-dir=[folder of the per-user server'\''s state]:path:_files' \
        '--server=[a running server\: host\:port or unix\:/path; default\: one of your own]:value:' \
        '--token-file=[file with the bearer token for --server]:path:_files' \
        '--tls-ca=[PEM file of who signed the server'\''s certificate]:path:_files' \
        '--tls-cert=[PEM file of your certificate]:path:_files' \
        '--tls-key=[PEM file of its key]:path:_files' \
        '--force[also while it drives environments]' \
        '*:word:_files'
      ;;
    'version')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '*:word:_files'
      ;;
    'completion')
      _arguments -S \
        '--help[Print this help message and exit]' \
        '-h[Print this help message and exit]' \
        '--output=[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '-o[what standard output holds]:value:(table json yaml name dot env junit markdown)' \
        '--color=[colours\: auto, always or never]:value:(auto always never)' \
        '--quiet[no progress, only data and errors]' \
        '-q[no progress, only data and errors]' \
        '--verbose[say more\: each answer of the probes, too]' \
        '-v[say more\: each answer of the probes, too]' \
        '1:shell:(bash zsh fish)'
      ;;
  esac
}
compdef _mayfly mayfly
