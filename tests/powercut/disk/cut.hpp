// What a power cut leaves, by the word of different file systems.
//
//   strict   nothing that was not synced: a name by the fsync of its folder, bytes and mode by that
//            of the file (POSIX)
//   closed   the same; but a folder that anything durable lies in is there itself (Btrfs's log)
//   journal  names and modes up to the last fsync of anything; bytes as in strict (ext4, XFS)
//   names    all names and modes; bytes as in strict
//   random   closed, and of the rest each change of a name and each block of a file by a coin
//   all      everything, as after SIGKILL
#pragma once
#include <algorithm>
#include <random>

#include "files.hpp"

namespace disk {

inline const std::set<std::string> MODELS = {"strict", "closed", "journal",
                                             "names",  "random", "all"};

class Cut {
   public:
    Cut(Files &files, const std::string &model, unsigned seed)
        : files_(files), model_(model), random_(seed), share_((1 + seed % 3) * 0.25) {}

    // Makes what is left the files of the disk.
    void happen() {
        std::vector<bool> kept;
        for (const Change &change : files_.pending) kept.push_back(keeps(change.at));
        if (model_ == "closed" || model_ == "random") keep_folders(kept);
        size_t number = 0;
        for (const Change &change : files_.pending)
            if (kept[number++]) files_.make_durable(change);
        files_.pending.clear();
        for (auto &entry : files_.all) revert(*entry.second);
        drop_unreachable();
    }

   private:
    Files &files_;
    std::string model_;
    std::mt19937 random_;
    double share_;

    bool coin(double share) { return std::uniform_real_distribution<>(0, 1)(random_) < share; }

    // Whether a change of a name or of attributes is on the disk, though nobody asked for it.
    bool keeps(unsigned long at) {
        if (model_ == "all" || model_ == "names") return true;
        if (model_ == "journal") return at <= files_.last_sync;
        return model_ == "random" && coin(share_);
    }

    // A folder that was synced, or in which anything is durable, has its name.
    void keep_folders(std::vector<bool> &kept) {
        for (bool more = true; more;) {
            more = false;
            std::map<Id, Names> names = names_with(kept);
            std::set<Id> named{ROOT};
            for (auto &folder : names)
                for (auto &name : folder.second) named.insert(name.second);
            for (auto &folder : names) {
                bool matters = !folder.second.empty() || files_.find(folder.first)->synced;
                if (matters && !named.count(folder.first)) more |= keep_name_of(folder.first, kept);
            }
        }
    }

    std::map<Id, Names> names_with(const std::vector<bool> &kept) {
        std::map<Id, Names> names;
        for (auto &entry : files_.all)
            if (entry.second->is_folder()) names[entry.first] = entry.second->durable_names;
        size_t number = 0;
        for (const Change &change : files_.pending) {
            if (!kept[number++]) continue;
            for (const Binding &binding : change.bindings) {
                if (binding.file == NOTHING)
                    names[binding.folder].erase(binding.name);
                else
                    names[binding.folder][binding.name] = binding.file;
            }
        }
        return names;
    }

    bool keep_name_of(Id folder, std::vector<bool> &kept) {
        size_t number = 0;
        for (const Change &change : files_.pending) {
            bool names = false;
            for (const Binding &binding : change.bindings) names |= binding.file == folder;
            if (names && !kept[number]) return kept[number] = true;
            number++;
        }
        return false;
    }

    void revert(File &file) {
        file.names = file.durable_names;
        file.links = 0;
        if (!keeps(file.touched)) file.seen = file.durable;
        if (file.dirty && model_ != "all") file.bytes = left_of(file);
        file.durable = file.seen;
        file.durable_bytes = file.bytes;
        file.dirty = false;
        file.shortest = SIZE_MAX;
        file.written.clear();
    }

    std::string left_of(const File &file) {
        std::string left = file.durable_bytes;
        bool truncated = model_ == "journal" || model_ == "names" ||
                         (model_ == "random" && coin(0.5));
        if (truncated && file.shortest < left.size()) left.resize(file.shortest);
        if (model_ != "random") return left;
        unsigned which = random_() % 3;  // all of it, some blocks, nothing
        if (which == 0) return file.bytes;
        if (which == 1) {
            left.resize(std::max(left.size(), file.bytes.size()), '\0');
            for (size_t block : file.written) {
                size_t from = block * BLOCK;
                if (from >= file.bytes.size() || !coin(0.5)) continue;
                size_t count = std::min(BLOCK, file.bytes.size() - from);
                left.replace(from, count, file.bytes, from, count);
            }
        }
        return left;
    }

    // A folder has one name; what no name leads to is free space.
    void drop_unreachable() {
        std::set<Id> met{ROOT};
        std::vector<Id> left{ROOT};
        while (!left.empty()) {
            File *folder = files_.find(left.back());
            left.pop_back();
            for (auto name = folder->names.begin(); name != folder->names.end();) {
                File *file = files_.find(name->second);
                bool known = !met.insert(file->id).second;
                if (file->is_folder() && known) {
                    name = folder->names.erase(name);
                    continue;
                }
                file->links++;
                file->synced = true;
                if (file->is_folder()) {
                    file->parent = folder->id;
                    left.push_back(file->id);
                }
                ++name;
            }
            folder->durable_names = folder->names;
        }
        for (auto file = files_.all.begin(); file != files_.all.end();)
            file = met.count(file->first) ? std::next(file) : files_.all.erase(file);
    }
};

}  // namespace disk
