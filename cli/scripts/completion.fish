# fish completion of swarmctl:  swarmctl completion fish > ~/.config/fish/completions/swarmctl.fish

function __swarmctl_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    set -l current (commandline -ct)
    set -l lines ($program __complete $words "$current" 2>/dev/null)
    if test "$lines[1]" = ":files"
        __fish_complete_path "$current"
        return
    end
    string split \n -- $lines # nothing where there are none
end
complete -c swarmctl -f -a '(__swarmctl_complete)'
